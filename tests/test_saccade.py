"""The world of saccades: the right pixels, the right way round; motions; images and where they come from."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glimpseworld.envs.cache as cache
from glimpseworld.envs.draws import EpisodeDraws
from glimpseworld.envs.eye.glimpse import CropFovea
from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.imagery.images import load_images
from glimpseworld.envs.saccade import SaccadeVectorEnv, SaccadeWorld


@pytest.fixture(scope="module")
def images():
    """Two 6 x 6 images; the pixel at row r, column c of image i is (100 i, 10 r, 10 c)."""
    rows, columns = np.mgrid[:6, :6] * 10
    return np.stack([np.stack([np.full((6, 6), 100 * i), rows, columns], axis=-1) for i in range(2)]).astype(np.uint8)


def crop(images, index, x, y, size=2, padding=7):
    return CropFovea(size, padding=padding).sample(images, np.array([index]), np.array([[x, y]]))[0]


def test_a_crop_holds_the_pixels_worked_out_by_hand(images):
    # Corner (x=4, y=1): columns 4 and 5, rows 1 and 2. Not transposed.
    assert crop(images, 1, 4, 1).tolist() == [[[100, 10, 40], [100, 10, 50]], [[100, 20, 40], [100, 20, 50]]]
    # The four corners of the image.
    assert crop(images, 0, 0, 0)[0, 0].tolist() == [0, 0, 0]
    assert crop(images, 0, 4, 0)[0, 1].tolist() == [0, 0, 50]
    assert crop(images, 0, 0, 4)[1, 0].tolist() == [0, 50, 0]
    assert crop(images, 1, 4, 4)[1, 1].tolist() == [100, 50, 50]


def test_beyond_the_border_lies_the_padding(images):
    assert crop(images, 1, -1, 2).tolist() == [[[7] * 3, [100, 20, 0]], [[7] * 3, [100, 30, 0]]]
    assert crop(images, 0, 5, 5).tolist() == [[[0, 50, 50], [7] * 3], [[7] * 3, [7] * 3]]
    assert (crop(images, 0, -2, -2) == 7).all()


def test_inside_and_outside_glimpses_mix_in_a_batch(images):
    fovea = CropFovea(2, padding=7)
    corner = np.array([[4, 1], [-1, 2], [0, 0]])
    together = fovea.sample(images, np.array([1, 1, 0]), corner)
    for row, (index, (x, y)) in enumerate(zip([1, 1, 0], corner, strict=True)):
        np.testing.assert_array_equal(together[row], crop(images, index, x, y))


@given(st.integers(0, 1), st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 6))
def test_crops_equal_slices_of_a_padded_image(index, x, y, size):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    padded = np.pad(images[index], ((20, 20), (20, 20), (0, 0)), constant_values=3)
    expected = padded[y + 20 : y + 20 + size, x + 20 : x + 20 + size]
    np.testing.assert_array_equal(crop(images, index, x, y, size, 3), expected)


def world_at(toy_images, **options):
    envs = SaccadeVectorEnv(toy_images, glimpse_size=8, autoreset_mode="Disabled", **options)
    obs, info = envs.reset(seed=0)
    return envs, obs, info


def test_positive_x_is_right_and_positive_y_is_down(toy_images):
    envs, obs, info = world_at(toy_images, start="center")
    assert info["position"][0].tolist() == [0, 0]
    # Centre of 40 x 40 with a glimpse of 8: rows and columns 16-23; channel 1 is the row, channel 2 the column.
    assert obs["glimpse"][0, 0, 0, 1:].tolist() == [16, 16]
    obs, *_, info = envs.step(np.array([[0.5, 0.0]]))  # half of 1 image unit = 10 pixels to the right
    assert obs["glimpse"][0, 0, 0, 1:].tolist() == [16, 26]
    assert info["position"][0].tolist() == [0.5, 0.0]
    obs, *_ = envs.step(np.array([[0.0, -0.25]]))  # 5 pixels up
    assert obs["glimpse"][0, 0, 0, 1:].tolist() == [11, 26]
    np.testing.assert_allclose(obs["motion"][0], [0, -0.25])


def test_the_motion_is_what_was_realised(toy_images):
    envs, _, info = world_at(toy_images, start="center")
    obs, *_, after = envs.step(np.array([[1.0, 0.33]]))  # stops with the glimpse at the right border: 16 pixels
    np.testing.assert_allclose(after["position"][0], [0.8, 0.35])  # 0.33 * 20 = 6.6, lands on 7 pixels
    np.testing.assert_allclose(obs["motion"][0], after["position"][0] - info["position"][0], atol=1e-7)
    assert obs["glimpse"][0, 0, -1, 2] == 39


def test_reach_of_one_sees_padding(toy_images):
    envs, *_ = world_at(toy_images, start="center", reach=1.0, padding=77)
    obs, *_, info = envs.step(np.array([[1.0, 1.0]]))
    assert info["position"][0].tolist() == [1.0, 1.0]
    assert (obs["glimpse"][0, 4:] == 77).all()
    assert (obs["glimpse"][0, :, 4:] == 77).all()
    assert obs["glimpse"][0, 3, 3, 1:].tolist() == [39, 39]


def test_max_amplitude_scales_the_action(toy_images):
    envs, *_ = world_at(toy_images, start="center", max_amplitude=0.5)
    obs, *_ = envs.step(np.array([[1.0, -0.5]]))
    np.testing.assert_allclose(obs["motion"][0], [0.5, -0.25])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**40), st.sampled_from([5, 8, 11]), st.floats(0, 1))
def test_glimpses_are_the_image_at_the_position(seed, size, reach):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 21, 21, 3), dtype=np.uint8)
    world = ImageSet(pixels, np.zeros(4, dtype=int), ("one",))
    envs = SaccadeVectorEnv(world, num_envs=3, glimpse_size=size, reach=reach, max_episode_steps=4, padding=9)
    obs, info = envs.reset(seed=seed)
    padded = np.pad(pixels, ((0, 0), (size, size), (size, size), (0, 0)), constant_values=9)
    for _ in range(8):
        for b in range(3):
            x, y = np.rint((info["position"][b] + 1) / 2 * 21 - size / 2).astype(int) + size
            expected = padded[info["index"][b], y : y + size, x : x + size]
            np.testing.assert_array_equal(obs["glimpse"][b], expected)
        assert (np.abs(info["position"]) <= reach + 1 / 21 + 1e-9).all()
        obs, *_, info = envs.step(rng.uniform(-1, 1, (3, 2)))


def test_view_agrees_with_acting(toy_images):
    envs = SaccadeVectorEnv(toy_images, num_envs=4, glimpse_size=8)
    obs, info = envs.reset(seed=3)
    seen = envs.world.view(info["index"], info["position"], np.zeros((4, 4)))
    np.testing.assert_array_equal(seen, obs["glimpse"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"glimpse_size": 41}, "does not fit"),
        ({"glimpse_size": 0}, "size in pixels must be a whole number, at least 1, got 0"),
        ({"glimpse_size": 8.0}, "whole number"),
        ({"zoom": 2}, r"zoom must be \(nearest, farthest\)"),
        ({"zoom": [1, None]}, r"zoom must be \(nearest, farthest\)"),
        ({"fovea": "multiscale", "scales": 3}, "list of numbers"),
        ({"variation": ["image_noise"]}, "variation must be None or a dict"),
        ({"reach": 1.5}, "reach in image units must be"),
        ({"max_amplitude": 0}, "max_amplitude in image units must be"),
        ({"start": "left"}, "start must be"),
        ({"padding": 256}, "padding"),
    ],
)
def test_bad_options(toy_images, options, message):
    with pytest.raises(ValueError, match=message):
        SaccadeWorld(toy_images, **options)


def test_draws_are_uniform_and_independent():
    seeds, episodes = np.arange(20_000, dtype=np.uint64) % 200, np.arange(20_000) // 200
    draws = EpisodeDraws(seeds, episodes)
    u = np.concatenate([draws.uniform(1, 2), draws.uniform(2, 1), draws.uniform(1, 1, np.full(20_000, 1))], axis=1)
    assert (u >= 0).all()
    assert (u < 1).all()
    assert len(np.unique(u)) == u.size
    np.testing.assert_allclose(np.histogram(u, 10, (0, 1))[0] / u.size, 0.1, atol=0.003)
    correlation = np.corrcoef(u.T) - np.eye(4)
    assert np.abs(correlation).max() < 0.03
    by_row = u[:, 0].reshape(100, 200)  # neighbouring seeds, neighbouring episodes
    assert abs(np.corrcoef(by_row[:, :-1].ravel(), by_row[:, 1:].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(by_row[:-1].ravel(), by_row[1:].ravel())[0, 1]) < 0.03


def test_a_row_draws_the_same_whatever_its_batch():
    whole = EpisodeDraws(np.arange(5, dtype=np.uint64), np.arange(5))
    part = EpisodeDraws(np.array([3], dtype=np.uint64), np.array([3]))
    np.testing.assert_array_equal(whole.uniform(4, 3, np.arange(5))[3], part.uniform(4, 3, np.array([3]))[0])
    counts = np.bincount(EpisodeDraws(np.arange(9000, dtype=np.uint64), np.zeros(9000)).integers(1, 3))
    assert (np.abs(counts / 9000 - 1 / 3) < 0.02).all()


def write_folder(folder, count=40):
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / ("cats" if i % 2 else "dogs") / f"deep{i % 3}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (50, 70) if i % 5 == 0 else (120, 100, 4) if i % 5 == 1 else (60, 60, 3)  # grey, RGBA, RGB
        cv2.imwrite(str(path), rng.integers(0, 256, shape, dtype=np.uint8))


def test_an_image_folder_is_read_and_dealt_to_splits(tmp_path):
    write_folder(tmp_path)
    sets = [load_images(str(tmp_path), split) for split in ("train", "validation", "test")]
    assert sum(len(s) for s in sets) == 40
    assert len(sets[0]) > 20
    assert all(s.class_names == ("cats", "dogs") and s.images.shape[1:] == (96, 96, 3) for s in sets)
    seen = [image.tobytes() for s in sets for image in s.images]
    assert len(set(seen)) == 40


def test_a_folders_colours_are_rgb_and_its_square_is_the_centre(tmp_path):
    (tmp_path / "only").mkdir()
    image = np.zeros((96, 192, 3), dtype=np.uint8)
    image[:, 48:144] = (10, 20, 200)  # BGR on disk: red 200
    for i in range(12):
        cv2.imwrite(str(tmp_path / "only" / f"{i}.png"), image)
    assert (load_images(tmp_path).images == np.array([200, 20, 10])).all()


def test_unreadable_images_are_counted_once(tmp_path):
    write_folder(tmp_path)
    for i in range(20):
        (tmp_path / "cats" / f"broken{i}.jpg").write_bytes(b"not an image" if i % 2 else b"")
    with pytest.warns(UserWarning, match=r"skipped \d+ unreadable images, the first .*broken"):
        load_images(tmp_path)


def test_empty_and_unknown_sources(tmp_path):
    with pytest.raises(ValueError, match=r"no images in .* expected one sub-folder a class"):
        load_images(tmp_path)
    with pytest.raises(ValueError, match="existing folder"):
        load_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="split must be"):
        load_images("scenes", "dev")
    with pytest.raises(ValueError, match="expected images"):
        ImageSet(np.zeros((2, 0, 0, 3), dtype=np.uint8), np.zeros(2, dtype=int), ("a",))
    with pytest.raises(ValueError, match="labels"):
        ImageSet(np.zeros((2, 4, 4, 3), dtype=np.uint8), np.array([0, 3]), ("a",))
    with pytest.raises(ValueError, match="saliency"):
        ImageSet(
            np.zeros((2, 4, 4, 3), dtype=np.uint8),
            np.zeros(2, dtype=int),
            ("a",),
            saliency=np.zeros((2, 3, 3), np.uint8),
        )


def test_the_cache_builds_once_and_survives_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path / "cache"))
    calls = []

    def build():
        calls.append(1)
        return {"small": np.arange(3), "large": np.zeros((1 << 20,), dtype=np.uint16)}

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.cached_arrays({"name": "thing", "version": 1}, interrupted)
    for _ in range(2):
        arrays = cache.cached_arrays({"name": "thing", "version": 1}, build)
        assert arrays["small"].tolist() == [0, 1, 2]
        assert isinstance(arrays["large"], np.memmap)
    cache.cached_arrays({"name": "thing", "version": 2}, build)
    assert len(calls) == 2
    assert not list((tmp_path / "cache").glob(".writing*"))
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(blocked))
    with pytest.raises(OSError, match="GLIMPSEWORLD_CACHE"):
        cache.cached_arrays({"name": "thing"}, build)


def test_actions_towards_a_position_reach_it(toy_images):
    envs, *_ = world_at(toy_images, start="center", max_amplitude=2.0)
    *_, info = envs.step(envs.world.actions_towards(np.array([[-0.5, 0.35]])))
    assert info["position"][0].tolist() == pytest.approx([-0.5, 0.35])


def test_a_damaged_cache_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path))
    recipe = {"name": "thing"}

    def build():
        return {"large": np.full((1 << 20,), 7, dtype=np.uint16)}

    cache.cached_arrays(recipe, build)
    (folder,) = tmp_path.iterdir()
    (folder / "large.npy").write_bytes((folder / "large.npy").read_bytes()[:1000])
    assert (cache.cached_arrays(recipe, build)["large"] == 7).all()
    (folder / "recipe.json").unlink()
    assert (cache.cached_arrays(recipe, build)["large"] == 7).all()


def test_a_folder_too_small_for_three_splits_is_refused_at_once(tmp_path):
    write_folder(tmp_path, count=4)
    with pytest.raises(ValueError, match="too few to deal to all splits"):
        load_images(tmp_path)


def test_all_glimpses_may_lie_over_the_border(images):
    envs = SaccadeVectorEnv(ImageSet(images, np.zeros(2, dtype=int), ("x",)), num_envs=2, glimpse_size=9, reach=0.5)
    assert envs.reset(seed=0)[0]["glimpse"].shape == (2, 9, 9, 3)
