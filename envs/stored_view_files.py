"""A published 3DIEBench tree on disk: checked, decoded once and memory-mapped from then on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from .cache import RowsFile, fingerprint, progress, streamed_arrays
from .rotations import canonical
from .settings import check_path, check_whole
from .splits import SPLITS, Split, dealt_to

LIST_FILES = ("train_images.npy", "train_labels.npy", "val_images.npy", "val_labels.npy")
LATENTS = ("yaw", "pitch", "roll", "floor hue", "spot theta", "spot phi", "spot hue")

_VERSION = 1  # raise when a change here changes any view
_DECODED_AT_ONCE = 64  # objects, so that memory does not grow with the data set


@dataclass(frozen=True, eq=False)
class StoredViews:
    """V views of each of N objects, with the latents they were rendered from; make one with `load_stored_views`.

    Args:
        views: (N, V, S, S, 3) uint8 RGB, as a rule a memory map.
        quaternions: (N, V, 4) float64, how the object is turned in each: unit quaternions xyzw, w >= 0.
        latents: (N, V, 7) float64: see `LATENTS`; angles in radians, hues in turns.
        labels: (N,) int64, index into `class_names`.
        class_names: name of each class: its synset's number.
        split: which split these objects are.
        reload: arguments of the `load_stored_views` call that made this. A pickle carries them in place of the views.
    """

    views: np.ndarray
    quaternions: np.ndarray
    latents: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    split: Split
    reload: tuple[Any, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> tuple[Callable[..., StoredViews], tuple]:
        if self.reload is not None:
            return load_stored_views, self.reload
        return StoredViews, (
            self.views,
            self.quaternions,
            self.latents,
            self.labels,
            self.class_names,
            self.split,
        )


def load_stored_views(
    source: str | os.PathLike[str], split: Split = "train", size: int = 64, views_per_object: int = 50
) -> StoredViews:
    """Load a tree in the layout of 3DIEBench (Garrido et al., 2023); the first call decodes it into the cache.

    The layout is ROOT/SYNSET/OBJECT/ with image_K.jpg and latent_K.npy, K from 0, where a latent is (yaw, pitch, roll,
    floor hue, spot theta, spot phi, spot hue) and the angles are SciPy's "xyz" (extrinsic), in the axes of that data
    set, whose camera sits at +y +z; its page speaks of 9 numbers, its code writes 7, and more than 7 are ignored. If
    ROOT also has the lists of the publication (`LIST_FILES`, from the data folder of the SIE repository), its val list
    is the test split, its train list is dealt to train and validation 9 : 1, and labels are the lists'. Else the class
    is the synset, and objects are dealt to the splits 8 : 1 : 1. Dealing is by a hash of "SYNSET/OBJECT".

    Objects without the right number of views, with an image that cannot be decoded or a latent that is not seven finite
    numbers are skipped with one warning. The cache takes 3 V size^2 bytes an object (32 GB for all of 3DIEBench at 64
    pixels). It is made anew when objects come or go, or when the names in one's folder or its first image or latent
    change. Other changes go unseen, as to look at five million files takes too long: after mending a file in place,
    touch its folder.

    Args:
        source: ROOT.
        split: "train", "validation" or "test".
        size: side S of the views, in pixels; images of another size are resized.
        views_per_object: V; 50 as published.

    Raises:
        ValueError: if there is no such tree, a list does not fit, an argument is out of range, or nothing is left.
        OSError: if the cache cannot be written.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    check_path("source", source)
    check_whole("size in pixels", size, low=1)
    check_whole("views_per_object", views_per_object, low=2)
    root = Path(source).resolve()
    names, labels, class_names = _members(root, split)
    seen = [root / name for name in names]
    recipe = {
        "name": "stored-views",
        "version": _VERSION,
        "size": size,
        "views": views_per_object,
        "objects": fingerprint(
            path for folder in seen for path in (folder, folder / "image_0.jpg", folder / "latent_0.npy")
        ),
        "labels": labels.tolist(),
    }
    arrays = streamed_arrays(recipe, lambda scratch: _decoded(root, names, labels, size, views_per_object, scratch))
    skipped = arrays.pop("skipped")
    if len(skipped):
        warnings.warn(f"skipped {len(skipped)} objects that cannot be used, the first {skipped[0]}", stacklevel=2)
    return StoredViews(
        **{name: np.asarray(array) for name, array in arrays.items()},
        class_names=class_names,
        split=split,
        reload=(str(root), split, size, views_per_object),
    )


def _members(root: Path, split: Split) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Return the names "SYNSET/OBJECT" of a split's objects, their labels and the names of all classes."""
    if not root.is_dir():
        raise ValueError(f"expected a folder in the layout of 3DIEBench, SYNSET/OBJECT/image_K.jpg; there is no {root}")
    present = [name for name in LIST_FILES if (root / name).exists()]
    if present and len(present) < len(LIST_FILES):
        missing = sorted(set(LIST_FILES) - set(present))
        raise ValueError(f"{root} has {', '.join(present)} but not {', '.join(missing)}: add them, or remove all four")
    if present:
        names, labels, class_names = _listed(root, split)
    else:
        everything = sorted(
            f"{synset.name}/{thing.name}" for synset in _folders(root) for thing in _folders(Path(synset.path))
        )
        class_names = tuple(sorted({name.split("/")[0] for name in everything}))
        number = {name: i for i, name in enumerate(class_names)}
        names = [name for name in everything if dealt_to(name) == split]
        labels = np.array([number[name.split("/")[0]] for name in names], dtype=np.int64)
    if not names:
        raise ValueError(
            f"no object of the {split} split in {root}: expected SYNSET/OBJECT/ with image_K.jpg and latent_K.npy, and "
            "enough objects for all splits"
        )
    return names, labels, class_names


def _folders(root: Path) -> list[os.DirEntry[str]]:
    with os.scandir(root) as entries:
        return [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def _listed(root: Path, split: Split) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Read the published lists: paths such as "/SYNSET/OBJECT", and a number for each."""
    lists = {}
    for part in ("train", "val"):
        paths, numbers = (np.load(root / f"{part}_{what}.npy", allow_pickle=False) for what in ("images", "labels"))
        fits = paths.ndim == 1 and paths.dtype.kind == "U" and numbers.shape == paths.shape
        if not fits or numbers.dtype.kind not in "iuf" or (numbers != np.floor(numbers)).any():
            raise ValueError(
                f"expected {part}_images.npy (N,) of strings and {part}_labels.npy (N,) of whole numbers in {root}, "
                f"got {paths.dtype} {paths.shape} and {numbers.dtype} {numbers.shape}"
            )
        names = [path.strip("/") for path in paths.tolist()]
        odd = [name for name in names if len(Path(name).parts) != 2 or ".." in Path(name).parts]
        if odd or (numbers < 0).any():
            raise ValueError(
                f"expected paths SYNSET/OBJECT and labels from 0 in the {part} lists of {root}, got "
                f"{odd[0] if odd else numbers.min()!r}"
            )
        lists[part] = names, numbers.astype(np.int64)
    synset: dict[int, str] = {}
    for names, numbers in lists.values():
        synset.update(zip(numbers.tolist(), (name.split("/")[0] for name in names), strict=True))
    class_names = tuple(synset.get(i, f"class {i}") for i in range(max(synset, default=-1) + 1))
    names, labels = lists["val" if split == "test" else "train"]
    if split != "test":
        mine = [i for i, name in enumerate(names) if (dealt_to(name) == "validation") == (split == "validation")]
        names, labels = [names[i] for i in mine], labels[mine]
    return names, labels, class_names


class _Thing(NamedTuple):
    """One object's views (V, S, S, 3) and latents (V, 7), or why it cannot be used."""

    views: np.ndarray | None
    latents: np.ndarray | None
    problem: str


def _decoded(
    root: Path, names: Sequence[str], labels: np.ndarray, size: int, count: int, scratch: Path
) -> dict[str, np.ndarray]:
    """Decode all objects on all cores, views straight into `scratch`; return the rest."""
    kept, latents, skipped = [], [], []
    starts = range(0, len(names), _DECODED_AT_ONCE)

    def read(i: int) -> _Thing:
        return _read_thing(root / names[i], size, count)

    with (
        RowsFile(scratch / "views.npy", (count, size, size, 3), np.dtype(np.uint8)) as file,
        ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool,
    ):
        for start in progress(starts, total=len(starts), what=f"decoding {root.name}"):
            part = range(start, min(start + _DECODED_AT_ONCE, len(names)))
            for i, thing in zip(part, pool.map(read, part), strict=True):
                if thing.views is None:
                    skipped.append(f"{names[i]}: {thing.problem}")
                    continue
                file.extend(thing.views[None])
                latents.append(thing.latents)
                kept.append(i)
    if not kept:
        raise ValueError(f"no usable object among {len(names)} in {root}; the first is {skipped[0]}")
    stacked = np.stack(latents)
    quaternions = canonical(Rotation.from_euler("xyz", stacked[..., :3].reshape(-1, 3)).as_quat())
    return {
        "latents": stacked,
        "quaternions": quaternions.reshape(len(kept), count, 4),
        "labels": labels[kept],
        "skipped": np.array(skipped, dtype=np.str_),
    }


def _read_thing(folder: Path, size: int, count: int) -> _Thing:
    """Read the `count` views of an object, at `size` pixels, and their latents."""
    import cv2

    for kind, suffix in (("image", "jpg"), ("latent", "npy")):
        present = {path.name for path in folder.glob(f"{kind}_*.{suffix}")}
        expected = {f"{kind}_{k}.{suffix}" for k in range(count)}
        if present != expected:
            odd = sorted(present ^ expected)[0]
            return _Thing(
                None,
                None,
                f"expected {kind}_0.{suffix} to {kind}_{count - 1}.{suffix}, got {len(present)}, {odd} "
                f"{'missing' if odd in expected else 'too many'}",
            )
    views, latents = np.empty((count, size, size, 3), np.uint8), np.empty((count, len(LATENTS)))
    for k in range(count):
        try:
            latent = np.load(folder / f"latent_{k}.npy", allow_pickle=False)
            image = cv2.imdecode(np.fromfile(folder / f"image_{k}.jpg", np.uint8), cv2.IMREAD_COLOR)
        except (OSError, ValueError, EOFError, cv2.error) as error:
            return _Thing(None, None, f"view {k} cannot be read: {error}")
        if image is None:
            return _Thing(None, None, f"image_{k}.jpg cannot be decoded")
        if latent.ndim != 1 or latent.dtype.kind != "f" or np.isfinite(latent[: len(LATENTS)]).sum() < len(LATENTS):
            return _Thing(None, None, f"latent_{k}.npy must hold {len(LATENTS)} finite floats, has {latent}")
        if image.shape[:2] != (size, size):
            shrinks = min(image.shape[:2]) >= size
            image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        views[k], latents[k] = image[..., ::-1], latent[: len(LATENTS)]
    return _Thing(views, latents, "")
