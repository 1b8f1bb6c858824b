"""Data sets in their published layouts: exact pixels the right way up, labels, splits, saliency, and every refusal."""

import pickle
import warnings

import cv2
import gymnasium as gym
import numpy as np
import pytest

import glimpseworld.envs  # noqa: F401  (registers the ids)
from glimpseworld.envs.imagery import image_formats
from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.imagery.images import BUILT_IN, load_images

STL10_NAMES = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path / "cache"))


def upright(count, side):
    """(count, side, side, 3) images whose pixels tell image, row and column."""
    rows, columns = np.mgrid[:side, :side]
    return np.stack([np.stack([np.full((side, side), i), rows, columns], -1) for i in range(count)]).astype(np.uint8)


def numbers(images):
    """Which of `upright` these are; their pixels must be exactly those."""
    index = images.images[:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(images.images, upright(index.max() + 1, images.side)[index])
    return index


def write_stl10(folder, count=30):
    """As published: one byte a value, image by image, red, green, blue, each column by column; labels from 1."""
    folder.mkdir(exist_ok=True)
    for part in ("train", "test", "unlabeled"):
        upright(count, 96).transpose(0, 3, 2, 1).tofile(folder / f"{part}_X.bin")
        if part != "unlabeled":
            (np.arange(count, dtype=np.uint8) % 10 + 1).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("\n".join(STL10_NAMES) + "\n")
    return folder


def write_cifar(folder, files, names_file, label_bytes, count=12):
    """As published: records of label bytes (coarse first) and 1,024 red, green and blue values, row by row."""
    folder.mkdir()
    for number, file in enumerate(files):
        images = upright(count * (number + 1), 32)[-count:]
        pixels = images.transpose(0, 3, 1, 2).reshape(count, -1)
        labels = np.zeros((count, label_bytes), dtype=np.uint8)
        labels[:, -1] = np.arange(count) % 10
        np.hstack([labels, pixels]).tofile(folder / file)
    (folder / names_file).write_text("\n".join(f"class{i}" for i in range(10)) + "\n\n")
    return folder


def write_cifar10(folder):
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    return write_cifar(folder, files, "batches.meta.txt", 1)


def write_cifar100(folder):
    return write_cifar(folder, ["train.bin", "test.bin"], "fine_label_names.txt", 2, count=30)


def write_tiny_imagenet(folder, count=20):
    (folder / "val" / "images").mkdir(parents=True)
    wnids = ["n02", "n01"]
    (folder / "wnids.txt").write_text("\n".join(wnids))
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn03\tother\n")
    lines = []
    for i in range(count):
        image = np.full((64, 64, 3), 8 * i, dtype=np.uint8)
        wnid = wnids[i % 2]
        (folder / "train" / wnid / "images").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG"), image)
        cv2.imwrite(str(folder / "val" / "images" / f"val_{i}.JPEG"), image)
        lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t62\t62")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines))
    return folder


def write_array(path, count=40):
    images = upright(count, 40)
    np.savez(path, images=images, labels=np.arange(count) % 3, class_names=np.array(["a", "b", "c"]))
    return path


def write_folder(folder):
    for i in range(60):
        path = folder / "ab"[i % 2] / "deep" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((96, 96, 3), i, dtype=np.uint8))
    return folder


WRITERS = {
    "stl10": write_stl10,
    "unlabelled": lambda path: write_stl10(path) / "unlabeled_X.bin",
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "tiny": write_tiny_imagenet,
    "folder": write_folder,
    "npz": lambda path: write_array(path.with_suffix(".npz")),
}


def splits(path):
    return [load_images(path, split) for split in ("train", "validation", "test")]


def test_stl10_is_turned_upright_and_its_labels_count_from_zero(tmp_path):
    train, validation, test = splits(write_stl10(tmp_path / "stl10"))
    assert numbers(test).tolist() == list(range(30))
    assert sorted([*numbers(train), *numbers(validation)]) == list(range(30))
    assert 0 < len(validation) < len(train)
    for images in (train, validation, test):
        assert images.class_names == tuple(STL10_NAMES)
        assert images.labels.tolist() == (numbers(images) % 10).tolist()


def test_stl10s_unlabelled_part_is_dealt_to_three_splits(tmp_path):
    sets = splits(write_stl10(tmp_path / "stl10") / "unlabeled_X.bin")
    assert sorted(np.concatenate([numbers(images) for images in sets])) == list(range(30))
    assert all(images.class_names == ("unlabelled",) and not images.labels.any() for images in sets)


@pytest.mark.parametrize("published_shape", [(30, 96, 96), (30, 1, 96, 96)])
def test_published_saliency_maps_follow_their_images(tmp_path, published_shape):
    folder = write_stl10(tmp_path / "stl10")
    for part in ("train", "test", "unlabeled"):
        maps = (upright(30, 96)[..., 0] + 1.0).reshape(published_shape) / 64
        np.save(folder / f"saliency_{part}.npy", maps.astype(np.float32))
    for images in (*splits(folder), *splits(folder / "unlabeled_X.bin")):
        index = np.arange(len(images))
        expected = np.broadcast_to((numbers(images)[:, None, None] + 1) / 64, (len(images), 96, 96))
        np.testing.assert_array_equal(images.saliency(index), expected)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.ones((30, 64, 64), np.float32), r"shape \(30, 64, 64\); expected \(30, 96, 96\)"),
        (np.ones((29, 96, 96), np.float32), "one for each image"),
        (np.zeros((30, 96, 96), np.uint8), "not all zeros; that of image 0 goes from 0 to 0"),
        (np.ones((30, 96, 96), np.float32) - 2 * (np.arange(30) == 7)[:, None, None], "that of image 7 goes from -1"),
        (np.full((30, 96, 96), np.nan), "finite"),
        (np.ones((30, 96, 96), np.int32), "int32 maps; expected uint8 or floating point"),
    ],
)
def test_unfit_saliency_is_refused_by_name(tmp_path, monkeypatch, maps, message):
    monkeypatch.setattr(image_formats, "CHUNK", 5)
    folder = write_stl10(tmp_path / "stl10")
    np.save(folder / "saliency_train.npy", maps)
    with pytest.raises(ValueError, match=f"saliency_train.npy.*{message}"):
        load_images(folder)
    if maps.shape == (30, 96, 96) and maps.dtype != np.int32:
        with pytest.raises(ValueError, match="not all zeros"):
            ImageSet(upright(len(maps), 96), np.zeros(len(maps), dtype=int), ("a",), saliency=maps)


def test_cifar10_has_rows_from_the_top_and_all_batches(tmp_path):
    train, validation, test = splits(write_cifar10(tmp_path / "cifar"))
    assert sorted([*numbers(train), *numbers(validation)]) == list(range(60))
    assert numbers(test).tolist() == list(range(60, 72))
    assert test.class_names == tuple(f"class{i}" for i in range(10))
    assert all(images.labels.tolist() == (numbers(images) % 12 % 10).tolist() for images in (train, test))


def test_cifar100_gives_the_fine_labels(tmp_path):
    train, validation, test = splits(write_cifar100(tmp_path / "cifar"))
    assert len(train) + len(validation) == len(test) == 30
    assert test.labels.tolist() == (np.arange(30) % 10).tolist()
    assert numbers(test).tolist() == list(range(30, 60))


def test_tiny_imagenet_tests_on_its_validation_part(tmp_path):
    train, validation, test = splits(write_tiny_imagenet(tmp_path / "tiny"))
    assert test.class_names == ("n02", "goldfish")
    assert test.images[:, 0, 0, 0].tolist() == [8 * i for i in range(20)]
    assert test.labels.tolist() == [0, 1] * 10
    shown = np.concatenate([train.images, validation.images])[:, 0, 0, 0] // 8
    assert sorted(shown) == list(range(20))
    assert np.concatenate([train.labels, validation.labels]).tolist() == (shown % 2).tolist()


def test_an_array_file_keeps_pixels_labels_and_names(tmp_path):
    sets = splits(write_array(tmp_path / "a.npz"))
    assert sorted(np.concatenate([numbers(images) for images in sets])) == list(range(40))
    assert all(images.labels.tolist() == (numbers(images) % 3).tolist() for images in sets)
    np.save(tmp_path / "grey.npy", upright(40, 40)[:, :20, :, 2])  # grey is the column
    grey = load_images(tmp_path / "grey.npy")
    assert grey.images.shape[1:] == (20, 20, 1)
    assert grey.images[0, 0, :, 0].tolist() == list(range(10, 30))  # the central square
    assert grey.class_names == ("unlabelled",)


def test_transparency_shows_grey_and_16_bits_become_8(tmp_path):
    folder = write_folder(tmp_path / "folder")
    for i in range(60):
        image = np.zeros((96, 96, 4), dtype=np.uint8)
        image[:, :48] = (10, 20, 200, 255)
        cv2.imwrite(str(folder / "ab"[i % 2] / "deep" / f"{i}.png"), image)
        deep = np.full((96, 96), 0x7F10, dtype=np.uint16)
        (folder / "c").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "c" / f"{i}.png"), deep)
    images = load_images(folder)
    assert (images.images[images.labels < 2][:, :, :48] == (200, 20, 10)).all()
    assert (images.images[images.labels < 2][:, :, 48:] == 128).all()
    assert (images.images[images.labels == 2] == 0x7F).all()


@pytest.mark.parametrize("name", WRITERS)
def test_every_source_makes_environments_that_ship_no_pixels(tmp_path, name):
    path = WRITERS[name](tmp_path / name)
    env = gym.make("GlimpseWorld/Saccade-v0", images=str(path), glimpse_size=16)
    first = env.reset(seed=3)[0]
    vector = gym.make_vec("GlimpseWorld/Saccade-v0", num_envs=2, images=str(path), glimpse_size=16)
    np.testing.assert_array_equal(vector.reset(seed=3)[0]["glimpse"][0], first["glimpse"])
    shipped = pickle.dumps(env.unwrapped)
    assert len(shipped) < 20_000
    np.testing.assert_array_equal(pickle.loads(shipped).reset(seed=3)[0]["glimpse"], first["glimpse"])


@pytest.mark.parametrize("name", WRITERS)
def test_large_sets_are_converted_once_and_mapped(tmp_path, name, monkeypatch):
    path = WRITERS[name](tmp_path / name)
    if name == "stl10":
        np.save(
            path / "saliency_train.npy", np.arange(1, 31, dtype=np.uint8)[:, None, None].repeat(96, 1).repeat(96, 2)
        )
    small = load_images(path)
    monkeypatch.setattr(image_formats, "CACHED_FROM", 1 << 10)
    monkeypatch.setattr(image_formats, "CHUNK", 7)
    monkeypatch.setattr("glimpseworld.envs.cache.MAPPED_FROM", 1 << 10)
    mapped = load_images(path)
    assert isinstance(mapped.images, np.memmap) and not mapped.images.flags.writeable
    np.testing.assert_array_equal(mapped.images, small.images)
    np.testing.assert_array_equal(mapped.labels, small.labels)
    np.testing.assert_array_equal(mapped.saliency(np.arange(3)), small.saliency(np.arange(3)))

    def fail(*arguments):
        raise AssertionError("converted again")

    monkeypatch.setattr(image_formats, "members_of", fail)
    if name not in ("tiny", "folder"):  # theirs deal the names before they decode
        np.testing.assert_array_equal(load_images(path).images, small.images)


def test_unreadable_files_are_told_again_from_the_cache_and_none_left_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(image_formats, "CACHED_FROM", 1 << 10)
    folder = write_folder(tmp_path / "folder")
    for i in range(20):
        (folder / "a" / f"broken{i:02}.png").write_bytes(b"no image" if i % 2 else b"")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"skipped \d+ unreadable images, the first .*broken0") as caught:
            load_images(folder)
        assert len(caught) == 1
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image at all")
    with pytest.raises(ValueError, match=r"no readable image of the train split in .* \(\d+ files tried\)"):
        load_images(folder)


def test_truncated_and_damaged_files_are_refused(tmp_path):
    stl10, cifar = write_stl10(tmp_path / "stl10"), write_cifar10(tmp_path / "cifar")
    for path in (stl10 / "train_X.bin", stl10 / "unlabeled_X.bin", cifar / "data_batch_3.bin"):
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"train_X.bin holds 829435 bytes; expected 829440.*fetch it again"):
        load_images(stl10)
    with pytest.raises(ValueError, match=r"unlabeled_X.bin holds .* whole number of images"):
        load_images(stl10 / "unlabeled_X.bin")
    with pytest.raises(ValueError, match=r"data_batch_3.bin holds 36871 bytes; expected 36876"):
        load_images(cifar)
    (cifar / "data_batch_3.bin").unlink()
    with pytest.raises(ValueError, match=r"lacks data_batch_3.bin; expected all of"):
        load_images(cifar)


def test_labels_outside_the_classes_are_refused(tmp_path):
    stl10, cifar = write_stl10(tmp_path / "stl10"), write_cifar100(tmp_path / "cifar")
    np.array([0, *[1] * 29], dtype=np.uint8).tofile(stl10 / "train_y.bin")  # 0 is not a class of STL-10
    with pytest.raises(ValueError, match=r"image 0 is of class number -1, counted from 0, of 10; 1 such"):
        load_images(stl10)
    (cifar / "fine_label_names.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"image 2 is of class number 2, counted from 0, of 2"):
        load_images(cifar)
    np.savez(tmp_path / "a.npz", images=upright(20, 8), labels=np.full(20, 5), class_names=["one"])
    with pytest.raises(ValueError, match="class number 5"):
        load_images(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("files", "version"),
    [(["data_batch_1", "batches.meta"], "CIFAR-10 binary version"), (["train", "meta"], "CIFAR-100 binary version")],
)
def test_pickled_cifar_is_refused_and_not_opened(tmp_path, files, version):
    for file in files:
        (tmp_path / file).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ValueError, match=f'pickled Python version .* Get the "{version}'):
        load_images(tmp_path)


def test_folders_that_are_splits_or_empty_are_refused(tmp_path):
    write_folder(tmp_path / "train")
    with pytest.raises(ValueError, match=r"are splits \(train\), not classes; give one of them"):
        load_images(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no images in .* expected one sub-folder a class"):
        load_images(tmp_path / "empty")


def test_unknown_sources_are_told_what_is_known(tmp_path):
    with pytest.raises(ValueError, match=rf"built in \({', '.join(BUILT_IN)}\).*'.*no-such-set', which is none"):
        load_images("no-such-set")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((20, 0, 8, 3), np.uint8)}, r"none of them 0; got uint8 \(20, 0, 8, 3\)"),
        ({"images": np.zeros((20, 8, 8, 3))}, "got float64"),
        ({"pixels": np.zeros((20, 8, 8, 3), np.uint8)}, r"keys \['pixels'\]"),
        ({"images": np.zeros((20, 8, 8), np.uint8), "labels": np.zeros(3, int)}, "expected 20 integer `labels`"),
        ({"images": np.array([{}, None], dtype=object)}, "not pickled"),
        ({"images": np.zeros((2, 8, 8), np.uint8)}, "too few to deal"),
    ],
)
def test_unfit_arrays_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=f"a.npz.*{message}"):
        load_images(tmp_path / "a.npz")


def test_files_that_are_no_arrays_are_refused(tmp_path):
    for name in ("a.npz", "a.npy"):
        (tmp_path / name).write_bytes(b"not an array")
        with pytest.raises(ValueError, match=f"cannot read .*{name}"):
            load_images(tmp_path / name)


def test_nothing_is_warned_of_a_good_source(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_images(write_folder(tmp_path / "folder"))


def test_remembered_saliency_maps_are_bounded(monkeypatch):
    monkeypatch.setattr("glimpseworld.envs.imagery.image_set.REMEMBERED_MAPS", 3)
    images = ImageSet(upright(8, 32), np.zeros(8, dtype=int), ("a",))
    maps = images.saliency(np.arange(8))
    assert maps.shape == (8, 32, 32) and len(images._computed) == 3
    np.testing.assert_array_equal(images.saliency(np.array([0]))[0], maps[0])
