"""The built-in images: one object each, where its box says, in every split its own; made once."""

import numpy as np
import pytest

import glimpseworld.envs.scenes as scenes
from glimpseworld.envs.families import FAMILIES


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
