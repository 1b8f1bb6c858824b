"""The built-in photographs: one object each, where its box says, in a landscape whose regularities tell the place."""

import dataclasses
import math

import numpy as np
import pytest

import glimpseworld.envs.imagery.landscapes as landscapes
from glimpseworld.envs.imagery.images import load_images
from glimpseworld.envs.imagery.landscape_objects import Standing, cast_shadow, draw_object
from glimpseworld.envs.imagery.landscape_painting import GROUNDS, Scenery, paint, veil
from glimpseworld.envs.imagery.landscape_views import EYE, LandscapeView
from glimpseworld.envs.rendering.ray_mesh import RayMesh
from glimpseworld.envs.shapes.families import FAMILIES, build_mesh

SIDE = 96


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(landscapes, "SCENES_PER_CLASS", {"train": 1, "validation": 1, "test": 2})
        patch.setattr(landscapes, "MEMBERS_PER_FAMILY", dict.fromkeys(("train", "validation", "test"), 1))
        sets = {split: load_images("landscapes", split) for split in ("train", "test")}
        patch.setattr(landscapes, "_make_landscapes", None)  # all further loads must find them in the cache
        yield {**sets, "again": load_images("landscapes", "test")}


def horizon_in_row_32():
    return LandscapeView(SIDE, math.radians(50), math.atan(math.tan(math.radians(25)) / 3), 0.0)


@pytest.fixture(scope="module")
def backdrops():
    """Twelve landscapes without objects, two of each kind of ground."""
    rng, view = np.random.default_rng(5), horizon_in_row_32()
    sceneries = [dataclasses.replace(Scenery.draw(rng), ground=ground) for ground in [*GROUNDS.values()] * 2]
    return [(scenery, paint(view, scenery)) for scenery in sceneries]


@pytest.fixture(scope="module")
def mug():
    return RayMesh(build_mesh("mug", 0))


def test_photographs_have_class_place_and_saliency(sets):
    images = sets["test"]
    assert images.images.shape == (2 * len(FAMILIES), SIDE, SIDE, 3)
    assert np.bincount(images.labels).tolist() == [2] * len(FAMILIES)
    assert images.class_names == FAMILIES
    x0, y0, x1, y1 = images.boxes.T
    assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= SIDE).all() and (y1 <= SIDE).all()
    span = np.maximum(x1 - x0, y1 - y0)
    assert span.min() >= 38 and span.max() <= 75 and 45 < span.mean() < 62
    assert images.saliency(np.arange(3)).shape == (3, SIDE, SIDE)


def test_saliency_prefers_the_object(sets):
    images, ratio = sets["test"], []
    for i, (x0, y0, x1, y1) in enumerate(images.boxes):
        saliency = images.saliency(np.array([i]))[0].astype(float)
        ratio.append(saliency[y0:y1, x0:x1].mean() / saliency.mean())
    assert np.median(ratio) > 1.5


def test_splits_share_no_photograph_and_a_second_load_generates_nothing(sets):
    seen = {image.tobytes() for split in ("train", "test") for image in sets[split].images}
    assert len(seen) == 3 * len(FAMILIES)
    np.testing.assert_array_equal(sets["again"].images, sets["test"].images)


def test_a_photograph_follows_from_its_generator(mug):
    first, box = landscapes.photograph([mug, mug], np.random.default_rng(3))
    again, box_again = landscapes.photograph([mug, mug], np.random.default_rng(3))
    other, _ = landscapes.photograph([mug, mug], np.random.default_rng(4))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(box, box_again)
    assert (first != other).mean() > 0.5


def test_upper_rows_are_brighter_and_bluer_than_lower_ones(sets):
    upper = sets["test"].images[:, :20].astype(float).mean(axis=(1, 2))
    lower = sets["test"].images[:, -20:].astype(float).mean(axis=(1, 2))
    assert (upper.mean(axis=1) > lower.mean(axis=1)).mean() > 0.85
    assert (upper[:, 2] - upper[:, 0] > lower[:, 2] - lower[:, 0]).mean() > 0.95


def test_the_sun_at_the_left_brightens_that_side_of_sky_and_ground(backdrops):
    for scenery, backdrop in backdrops:
        clear = dataclasses.replace(scenery, cloudiness=-1.0, hills=0.0, ground=scenery.ground._replace(relief=0.0))
        light = paint(horizon_in_row_32(), clear).image.mean(axis=2)
        assert light[:28, :24].mean() > 1.15 * light[:28, -24:].mean()
        assert backdrop.airlight[40, 0].mean() > 1.1 * backdrop.airlight[40, -1].mean()
    lower = np.mean([backdrop.image[40:].mean(axis=(0, 2)) for _, backdrop in backdrops], axis=0)
    assert lower[:24].mean() > lower[-24:].mean()


def test_the_ground_grows_coarser_and_richer_in_contrast_towards_the_viewer(backdrops):
    finer, flatter = [], []
    for scenery, backdrop in backdrops:
        light = backdrop.image.mean(axis=2)
        crossings, contrast = [], []
        for rows in (slice(42, 48), slice(84, 96)):
            trend = np.polynomial.Polynomial.fit(np.arange(SIDE), light[rows].mean(axis=0), 1)(np.arange(SIDE))
            rest = light[rows] - trend - (light[rows] - trend).mean(axis=1, keepdims=True)
            crossings.append((np.diff(np.sign(rest), axis=1) != 0).mean())
            contrast.append(np.abs(rest).mean() / light[rows].mean())
        flatter.append(contrast[0] < contrast[1])
        if scenery.ground.pattern == "tufts":  # furrows may run along the rows
            finer.append(crossings[0] / crossings[1])
    assert len(finer) == 6 and min(finer) > 1.2 and np.mean(flatter) > 0.8


def test_objects_are_larger_the_lower_they_stand(mug):
    rng = np.random.default_rng(0)
    view = LandscapeView(SIDE, math.radians(50), math.radians(8), 0.0)
    horizon = SIDE / 2 - view.focal * math.tan(math.radians(8))
    near = [landscapes._place_main(mug, view, rng).outline(view) for _ in range(20)]
    far = [landscapes._place_far(mug, view, rng).outline(view) for _ in range(20)]
    foot, span = ([pick(box) for box in near + far] for pick in (lambda b: b[3], lambda b: max(b[2:] - b[:2])))
    assert np.corrcoef(foot, span)[0, 1] > 0.9
    assert min(foot) > horizon and max(foot[20:]) < min(foot[:20])
    assert min(span[:20]) >= 38 and max(span[20:]) < 20


def test_pixels_and_points_by_hand():
    view = LandscapeView(SIDE, math.radians(90), 0.0, 0.0)  # a focal length of 48 pixels
    np.testing.assert_allclose(view.project(np.array([[0, 1, 1], [1, 1, 1], [0, 1, 0], [-1, 4, 2]])), [
        [48, 48], [96, 48], [48, 96], [36, 36],
    ])  # fmt: skip
    falloff = view.falloff()
    np.testing.assert_allclose(falloff[47:49, 47:49], 1, atol=1e-3)
    assert falloff[0, 48] == pytest.approx(0.25, abs=0.01)  # cos^4 of 45 degrees
    assert falloff[0, 0] == pytest.approx(1 / 9, abs=0.01)  # of atan(sqrt(2))


def test_rays_lead_back_to_their_pixels():
    view = LandscapeView(SIDE, 0.9, 0.2, 0.05)
    rays = view.look(10, 20, 14, 23, fine=2)
    assert rays.shape == (3, 6, 8)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=0), 1, atol=1e-6)
    at = view.project(EYE + 3.0 * rays.reshape(3, -1).T).reshape(6, 8, 2)
    np.testing.assert_allclose(at[0, :, 0], 10.25 + np.arange(8) / 2, atol=1e-4)
    np.testing.assert_allclose(at[:, 0, 1], 20.25 + np.arange(6) / 2, atol=1e-4)
    horizon = (view.rays[2] > 0).sum(axis=0)  # rows of sky
    assert horizon[0] > horizon[48] > horizon[-1]  # rolled to the right: it climbs there


def test_air_hides_contrast_with_distance(backdrops):
    scenery, _ = backdrops[0]
    seen = veil(np.zeros((2, 3)), np.array([0.0, scenery.visibility]), np.ones((2, 3)), scenery)
    np.testing.assert_allclose(seen, [[0] * 3, [1 - math.exp(-1)] * 3])


def standing_mug(mug, x=0.0):
    return Standing(mug, x, 4.0, 0.6, np.eye(3, dtype=np.float32))


def test_an_object_is_seen_within_its_outline_and_stands_on_the_ground(mug, backdrops):
    view = LandscapeView(SIDE, math.radians(90), 0.0, 0.0)
    scenery = backdrops[0][0]
    backdrop = paint(view, scenery)
    before = backdrop.image.copy()
    cover = draw_object(standing_mug(mug), backdrop, view, scenery)
    x0, y0, x1, y1 = standing_mug(mug).outline(view)
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    np.testing.assert_allclose([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], [x0, y0, x1, y1], atol=1)
    assert 48 + 48 / 4.6 < y1 < 48 + 48 / 3.4  # its foot is 3.4 to 4.6 ahead, an eye's height below the eye
    changed = (backdrop.image != before).any(axis=2)
    np.testing.assert_array_equal(changed, cover > 0)
    hidden = np.abs(draw_object(standing_mug(mug, x=40.0), backdrop, view, scenery)).sum()
    assert hidden == 0  # out of the picture


def test_the_shadow_falls_away_from_the_sun(mug, backdrops):
    view = LandscapeView(SIDE, math.radians(90), 0.0, 0.0)
    azimuth, elevation = math.radians(30), math.radians(30)
    level = math.cos(elevation)
    sun = np.array([-math.sin(azimuth) * level, math.cos(azimuth) * level, math.sin(elevation)], np.float32)
    scenery = dataclasses.replace(backdrops[0][0], sun=sun)
    backdrop = paint(view, scenery)
    before = backdrop.image.mean(axis=2)
    cast_shadow(standing_mug(mug), backdrop, view, scenery)
    dark = 1 - backdrop.image.mean(axis=2) / before
    assert dark.min() > -1e-5 and dark.max() > 0.4
    assert (dark[:48] < 1e-5).all()  # none on the sky
    rows, columns = np.nonzero(dark > 0.35)
    x0, _, x1, _ = standing_mug(mug).outline(view)
    assert columns.mean() > (x0 + x1) / 2 + 2 and columns.max() > x1 + 3 and columns.min() > x0 - 2
    assert rows.mean() > 48 + 48 / 4.0  # and towards the viewer: below the foot's middle
