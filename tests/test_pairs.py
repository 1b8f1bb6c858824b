"""Pairs: what the class is, how things lie, and that splits have things of their own."""

import numpy as np
import pytest

import glimpseworld.envs.imagery.pairs as pairs
import glimpseworld.envs.rendering.renderer as renderer
from glimpseworld.envs.imagery.images import load_images
from glimpseworld.envs.shapes.families import FAMILIES
from glimpseworld.envs.shapes.objects import load_objects

SPLITS = ("train", "validation", "test")


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Twelve images of a class, of two mugs and two cars."""
    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path))
    monkeypatch.setattr(pairs, "PAIRS_PER_CLASS", dict.fromkeys(SPLITS, 12))
    monkeypatch.setattr(pairs, "MEMBERS_PER_FAMILY", dict.fromkeys(SPLITS, 2))


def test_the_class_is_where_the_car_lies_from_the_mug(few, monkeypatch):
    """Cutouts stand for the things: red squares for mugs, blue ones for cars, so that their middles can be found."""
    objects = load_objects("families", "validation", members_per_family=2)
    mugs = [objects.mesh(i) for i in np.flatnonzero(objects.labels == FAMILIES.index("mug"))]

    def square(mesh, drawn_by, rng):
        mug = any(np.array_equal(mesh.vertices, other.vertices) for other in mugs)
        return np.full((13, 13, 4), (255, 0, 0, 255) if mug else (0, 0, 255, 255), dtype=np.uint8)

    monkeypatch.setattr(renderer, "RayMesh", lambda mesh: mesh)
    monkeypatch.setattr(pairs, "draw_cutout", square)
    images = load_images("pairs", "validation")
    assert images.images.shape == (96, 96, 96, 3)
    assert images.class_names[:3] == ("east", "southeast", "south")
    assert np.bincount(images.labels).tolist() == [12] * 8
    for image, label in zip(images.images, images.labels, strict=True):
        mug, car = (np.argwhere(image[..., channel] == 255).mean(axis=0)[::-1] for channel in (0, 2))  # (x, y)
        turn = np.arctan2(*(car - mug)[::-1]) - np.pi / 4 * label
        assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < np.pi / 8  # nearer to its own class than to the next
        assert 37 <= np.linalg.norm(car - mug) <= 61


def test_a_pair_is_two_things_on_an_even_ground_that_draw_the_eye(few):
    images = load_images("pairs", "validation")
    for i, image in enumerate(images.images):
        off = np.abs(image.astype(int) - 128).max(axis=2) > 30  # ground: a deviation of 4
        share = off.mean()
        assert 0.02 < share < 0.3
        saliency = images.saliency(np.array([i]))[0].astype(float)
        assert saliency[off].mean() > 2 * saliency[~off].mean()


def test_both_lie_about_the_middle_of_the_image_whatever_the_class():
    """The middle of both is as likely left as right, above as below, and none is cut by the border."""
    rng = np.random.default_rng(0)
    for direction in range(8):
        places = np.array([pairs._places(direction, rng) for _ in range(2000)])
        np.testing.assert_allclose(places.mean(axis=(0, 1)), 48, atol=1)
        assert places.min() >= 17 and places.max() <= 96 - 17


def test_splits_show_different_things_and_are_made_once(few, monkeypatch):
    first = {split: load_images("pairs", split).images for split in ("train", "test")}
    assert not np.array_equal(first["train"], first["test"])

    def fail(split):
        raise AssertionError("made again")

    monkeypatch.setattr(pairs, "_make_pairs", fail)
    np.testing.assert_array_equal(load_images("pairs", "test").images, first["test"])
