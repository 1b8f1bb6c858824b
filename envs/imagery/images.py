"""Images to look at: the built-in scenes, data sets, folders and arrays, with labels and saliency."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from ..settings import check_path
from ..splits import SPLITS, Split
from .image_files import read_class_folders, read_tiny_imagenet
from .image_formats import (
    Arrays,
    read_array_file,
    read_cifar10,
    read_cifar100,
    read_stl10,
    read_stl10_unlabelled,
    refuse_pickles,
)
from .image_set import ImageSet

BUILT_IN = ("scenes", "landscapes", "pairs", "search-easy", "search", "search-hard", "textures")


def load_images(source: str | os.PathLike[str] = "scenes", split: Split = "train") -> ImageSet:
    """Return the images of a source.

    Args:
        source: what is built in, generated at first use:

            - "scenes": one object on a textured ground, 96 x 96, with its box.
            - "landscapes": one object, with its box, and small far ones on a perspective ground under sun and sky,
              96 x 96: what a glimpse shows tells where it lies, as in a natural photograph.
            - "pairs": a mug and a car on an even ground, 96 x 96; the class is the direction from the one to the other,
              which hardly any single glimpse tells.
            - "search-easy", "search", "search-hard": 3, 6 or 10 objects of different classes, 128 x 128, all boxed.
            - "textures": the grounds alone, 96 x 96, of three classes.

            Or a path, whose format is recognised by what is there:

            - STL-10, binary version: 96 x 96. `saliency_train.npy` and `saliency_test.npy` in its folder, (N, 96, 96)
              or (N, 1, 96, 96), uint8 or floating point, are its saliency maps. Its unlabelled part is a source of its
              own: the path of `unlabeled_X.bin`, one class, with `saliency_unlabeled.npy` if that is beside it.
            - CIFAR-10 and CIFAR-100 (fine labels), binary versions: 32 x 32. The pickled ones are refused.
            - Tiny ImageNet: 64 x 64.
            - A folder with one sub-folder a class, images at any depth below: the central square, resampled to 96 x 96.
              Grey images become RGB, 16 bits a channel 8, and transparency shows mid-grey.
            - An `.npy` file of images, (N, H, W) or (N, H, W, 1 or 3) uint8, or an `.npz` with such `images` and
              optional `labels` (N,) and `class_names`: the central square as it is, grey or RGB.
        split: "train", "validation" or "test". STL-10 and CIFAR keep their test split, Tiny ImageNet's is its published
            validation part; a tenth of their training images is held out for validation. The images of folders, arrays
            and the unlabelled part are dealt 8 : 1 : 1. A hash of an image's name or number decides.

    Returns:
        The set. Of data sets from 32 MiB on, each split is converted once, in pieces (an `.npz` in memory), and kept in
        the cache, from where it is memory-mapped and shared by all processes.

    Raises:
        ValueError: for an unknown split or source, files that are missing, truncated, damaged or pickled, saliency maps
            of another size or all zeros, or if no image can be read. Single files that cannot are skipped with one
            warning.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    check_path("images", source)
    if source in BUILT_IN:
        return _built_in(str(source), split).made_by(load_images, str(source), split)
    path = Path(os.path.abspath(os.path.expanduser(source)))
    arrays = _read(path, split)
    skipped = arrays.get("skipped")
    if skipped is not None and len(skipped):
        warnings.warn(f"skipped {len(skipped)} unreadable images, the first {skipped[0]}", stacklevel=2)
    found = ImageSet(
        arrays["images"],
        arrays["labels"],
        arrays["class_names"].tolist(),
        saliency=arrays.get("saliency"),
        checked=True,
    )
    return found.made_by(load_images, str(path), split)


def _built_in(source: str, split: Split) -> ImageSet:
    if source == "scenes":
        from .scenes import load_scenes

        return load_scenes(split)
    if source == "landscapes":
        from .landscapes import load_landscapes

        return load_landscapes(split)
    if source == "pairs":
        from .pairs import load_pairs

        return load_pairs(split)
    from .search_scenes import load_search, load_textures

    return load_textures(split) if source == "textures" else load_search(source, split)


def _read(source: Path, split: Split) -> Arrays:
    """Recognise a data set by what is at `source`, and read one split of it."""
    if source.is_file() and source.suffix in (".npz", ".npy"):
        return read_array_file(source, split)
    if source.is_file() and source.name == "unlabeled_X.bin":
        return read_stl10_unlabelled(source, split)
    if not source.is_dir():
        raise ValueError(
            f"images must be built in ({', '.join(BUILT_IN)}), an existing folder, an .npz or .npy file, or STL-10's "
            f"unlabeled_X.bin; got {str(source)!r}, which is none of them"
        )
    names = set(os.listdir(source))
    if names & {"train_X.bin", "test_X.bin"}:
        return read_stl10(source, split)
    if names & {"data_batch_1.bin", "test_batch.bin"}:
        return read_cifar10(source, split)
    if names & {"train.bin", "test.bin"}:
        return read_cifar100(source, split)
    refuse_pickles(source)
    if "wnids.txt" in names and (source / "train").is_dir():
        return read_tiny_imagenet(source, split)
    return read_class_folders(source, split)
