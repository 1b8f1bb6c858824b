"""The built-in images: one object each, where its box says, in every split its own; made once."""

import pickle

import numpy as np
import pytest

import glimpseworld.envs.imagery.scenes as scenes
import glimpseworld.envs.imagery.search_scenes as search_scenes
from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.imagery.images import load_images
from glimpseworld.envs.shapes.families import FAMILIES


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(scenes, "SCENES_PER_CLASS", dict.fromkeys(("train", "validation", "test"), 2))
        patch.setattr(scenes, "MEMBERS_PER_FAMILY", dict.fromkeys(("train", "validation", "test"), 1))
        yield {split: scenes.load_scenes(split) for split in ("train", "test")}


def test_scenes_have_class_place_and_saliency(sets):
    for images in sets.values():
        assert images.images.shape == (2 * len(FAMILIES), 96, 96, 3)
        assert np.bincount(images.labels).tolist() == [2] * len(FAMILIES)
        x0, y0, x1, y1 = images.boxes.T
        assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= 96).all() and (y1 <= 96).all()
        assert ((x1 - x0) * (y1 - y0) > 150).all()
        assert images.saliency(np.arange(3)).shape == (3, 96, 96)


def test_the_object_lies_in_its_box(sets):
    """Objects have hard edges, grounds hardly any: there are far more of them inside the boxes."""
    inside, outside = [], []
    for image, (x0, y0, x1, y1) in zip(sets["train"].images, sets["train"].boxes, strict=True):
        edges = np.abs(np.diff(image.astype(float).mean(axis=2), axis=1)) > 40
        mask = np.zeros((96, 95), dtype=bool)
        mask[y0:y1, max(x0 - 1, 0) : x1] = True
        inside.append(edges[mask].mean())
        outside.append(edges[~mask].mean())
    assert np.mean(inside) > 5 * np.mean(outside)


def test_saliency_prefers_the_object(sets):
    images = sets["train"]
    ratio = []
    for i, (x0, y0, x1, y1) in enumerate(images.boxes):
        saliency = images.saliency(np.array([i]))[0].astype(float)
        ratio.append(saliency[y0:y1, x0:x1].mean() / saliency.mean())
    assert np.median(ratio) > 1.5


def test_splits_share_no_scene_and_grounds_differ(sets):
    seen = {image.tobytes() for images in sets.values() for image in images.images}
    assert len(seen) == 4 * len(FAMILIES)


def test_a_second_load_generates_nothing(sets, monkeypatch, tmp_path):
    def fail(split):
        raise AssertionError("generated again")

    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path))
    monkeypatch.setattr(scenes, "SCENES_PER_CLASS", dict.fromkeys(("train", "validation", "test"), 1))
    monkeypatch.setattr(scenes, "MEMBERS_PER_FAMILY", dict.fromkeys(("train", "validation", "test"), 1))
    first = scenes.load_scenes("validation")
    monkeypatch.setattr(scenes, "_make_scenes", fail)
    np.testing.assert_array_equal(scenes.load_scenes("validation").images, first.images)


@pytest.fixture(scope="module")
def search_sets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(search_scenes, "TARGETS_PER_CLASS", dict.fromkeys(("train", "validation", "test"), 2))
        patch.setattr(search_scenes, "TEXTURES", dict.fromkeys(("train", "validation", "test"), 6))
        patch.setattr(search_scenes, "MEMBERS_PER_FAMILY", dict.fromkeys(("train", "validation", "test"), 1))
        sources = ("search-easy", "search", "search-hard", "textures")
        yield {source: load_images(source, "validation") for source in sources}


@pytest.mark.parametrize(("source", "count"), [("search-easy", 3), ("search", 6), ("search-hard", 10)])
def test_a_search_scene_has_its_objects_apart_and_of_different_classes(search_sets, source, count):
    images = search_sets[source]
    assert images.images.shape == (2 * len(FAMILIES), 128, 128, 3)
    assert images.object_boxes.shape == (len(images), count, 4)
    assert all(len(set(labels)) == count for labels in images.object_labels)
    assert np.bincount(images.labels).tolist() == [2] * len(FAMILIES)
    np.testing.assert_array_equal(images.object_labels[:, 0], images.labels)
    np.testing.assert_array_equal(images.object_boxes[:, 0], images.boxes)
    low, high = images.object_boxes[..., :2], images.object_boxes[..., 2:]
    assert low.min() >= 0 and high.max() <= 128 and (high - low).min() > 4
    shared = np.minimum(high[:, :, None], high[:, None]) - np.maximum(low[:, :, None], low[:, None])
    overlap = np.clip(shared, 0, None).prod(axis=-1) / (high - low).prod(axis=-1)[:, :, None]
    overlap[:, np.arange(count), np.arange(count)] = 0
    assert overlap.mean() < 0.01


def test_every_object_lies_in_its_box_and_only_there(search_sets):
    """Objects have hard edges, grounds hardly any: there are far more of them inside each object's box."""
    images, inside, outside = search_sets["search"], [], []
    for image, boxes in zip(images.images, images.object_boxes, strict=True):
        edges = np.abs(np.diff(image.astype(float).mean(axis=2), axis=1)) > 40
        free = np.ones_like(edges)
        for x0, y0, x1, y1 in boxes:
            free[y0:y1, max(x0 - 1, 0) : x1] = False
            inside.append(edges[y0:y1, max(x0 - 1, 0) : x1].mean())
        outside.append(edges[free].mean())
    assert np.median(inside) > 10 * np.mean(outside)
    assert np.quantile(inside, 0.1) > 2 * np.mean(outside)


def test_search_scenes_survive_pickling_without_their_pixels(search_sets):
    images = ImageSet(
        np.zeros((1, 4, 4, 3), np.uint8),
        np.array([1]),
        ("a", "b"),
        object_boxes=np.ones((1, 2, 4), dtype=np.int64),
        object_labels=np.array([[1, 0]]),
    )
    copy = pickle.loads(pickle.dumps(images))
    assert copy.object_boxes.shape == (1, 2, 4) and copy.object_labels.tolist() == [[1, 0]]
    assert len(pickle.dumps(search_sets["search-hard"])) < 200


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({"object_boxes": np.ones((1, 2, 4))}, "come together"),
        ({"object_boxes": np.ones((1, 3, 4)), "object_labels": np.array([[1, 0]])}, r"got \(1, 2\) and \(1, 3, 4\)"),
        ({"object_boxes": np.ones((1, 2, 4)), "object_labels": np.array([[1, 2]])}, r"object_labels in \[0, 2\)"),
        ({"boxes": np.ones((2, 4))}, r"expected boxes \(1, 4\)"),
    ],
)
def test_objects_that_do_not_fit_their_images_are_refused(objects, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(np.zeros((1, 4, 4, 3), np.uint8), np.array([1]), ("a", "b"), **objects)


def test_textures_are_labelled_with_their_kind(search_sets):
    images = search_sets["textures"]
    assert images.class_names == ("noise", "stripes", "checks")
    assert images.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert images.images.shape == (6, 96, 96, 3)

    def peak(image):  # the strongest wave's share of the spectrum's power above the lowest frequencies
        power = np.abs(np.fft.rfft2(image.astype(float).mean(axis=2) - image.mean())) ** 2
        power[:3, :3] = power[-2:, :3] = 0
        return power.max() / power.sum()

    peaks = [peak(image) for image in images.images]
    assert max(peaks[0], peaks[3]) < min(peaks[1], peaks[4])
