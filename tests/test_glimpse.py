"""Foveae and zoom: pixels worked out by hand, parity with cv2, and worlds that see through each kind."""

import pickle

import cv2
import gymnasium as gym
import numpy as np
import pytest
from batches import equal, row_of
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import glimpseworld.envs.eye.image_tables as image_tables
import glimpseworld.envs.threads as threads
from glimpseworld.envs.eye.foveae import BlurredFovea, LogPolarFovea, MultiscaleFovea, make_fovea
from glimpseworld.envs.eye.glimpse import CropFovea
from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.saccade import SaccadeEnv, SaccadeVectorEnv, SaccadeWorld

KINDS = ("crop", "multiscale", "logpolar", "blurred")


@pytest.fixture(scope="module")
def ramps():
    """Two 6 x 6 images; the pixel at row r, column c of image i is (100 i, 10 r, 10 c)."""
    rows, columns = np.mgrid[:6, :6] * 10
    return np.stack([np.stack([np.full((6, 6), 100 * i), rows, columns], axis=-1) for i in range(2)]).astype(np.uint8)


@pytest.fixture(scope="module")
def noise():
    """Five 30 x 30 images of random pixels."""
    return np.random.default_rng(0).integers(0, 256, (5, 30, 30, 3), dtype=np.uint8)


def look(fovea, images, index, x, y, scale=None):
    kind = np.float64 if isinstance(x, float) else np.int64
    scales = None if scale is None else np.array([scale], dtype=np.float64)
    return fovea.sample(images, np.array([index]), np.array([[x, y]], dtype=kind), scales)[0]


def box_mean(image, x0, y0, box, padding):
    """The plain mean over `box` pixels a side from (x0, y0), a half rounded up."""
    wide = np.pad(image, ((80, 80), (80, 80), (0, 0)), constant_values=padding).astype(int)
    return (wide[y0 + 80 : y0 + 80 + box, x0 + 80 : x0 + 80 + box].mean(axis=(0, 1)) + 0.5).astype(int)


def test_multiscale_pixels_worked_out_by_hand(ramps):
    fovea = MultiscaleFovea(2, (1, 2), padding=7)
    # Gaze at (3, 3). Fine: columns and rows 2, 3. Coarse: blocks of pixels 1-2 (mean 15) and 3-4 (mean 35).
    seen = look(fovea, ramps, 1, 2, 2)
    assert seen[0, 0].tolist() == [100, 20, 20, 100, 15, 15]
    assert seen[0, 1].tolist() == [100, 20, 30, 100, 15, 35]
    assert seen[1, 0].tolist() == [100, 30, 20, 100, 35, 15]
    # Gaze at the top left corner: all but the last pixel and the last block is outside.
    corner = look(fovea, ramps, 1, -1, -1)
    assert corner[1, 1].tolist() == [100, 0, 0, 100, 5, 5]
    assert corner[0, 0].tolist() == corner[0, 1].tolist() == corner[1, 0].tolist() == [7] * 6
    # A block that is half outside counts the padding in: 6 pixels of the image sum to 30, 10 of padding to 70.
    half = look(MultiscaleFovea(2, (4,), padding=7), ramps, 0, 1, 2)
    assert half[0, 0, 2] == 6  # 100 / 16 = 6.25


@settings(max_examples=40, deadline=None)
@given(
    st.integers(-12, 38),
    st.integers(-12, 38),
    st.sampled_from([(8, (1, 2, 4)), (16, (1, 2, 4)), (5, (1, 3)), (8, (2, 6))]),
)
def test_every_multiscale_pixel_is_the_mean_of_its_block(x, y, kind):
    images = np.random.default_rng(1).integers(0, 256, (2, 30, 30, 3), dtype=np.uint8)
    size, scales = kind
    seen = look(MultiscaleFovea(size, scales, padding=9), images, 1, x, y)
    for level, k in enumerate(scales):
        x0, y0 = x - (k - 1) * size // 2, y - (k - 1) * size // 2
        for row, column in ((0, 0), (0, size - 1), (size - 1, 0), (2, 3)):
            expected = box_mean(images[1], x0 + k * column, y0 + k * row, k, 9)
            assert seen[row, column, 3 * level : 3 * level + 3].tolist() == expected.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_threads_change_nothing(kind, channels, monkeypatch):
    rng = np.random.default_rng(6)
    images = rng.integers(0, 256, (9, 30, 30, channels), dtype=np.uint8)
    index, corner = rng.integers(0, 9, 50), rng.integers(-12, 34, (50, 2))
    made = []
    for number in (1, 2, 7):
        monkeypatch.setattr(threads, "auto_threads", lambda number=number: number)
        monkeypatch.setattr(threads, "_BYTES_A_JOB", 1)
        made.append(make_fovea(kind, 9, padding=40).sample(images, index, corner))
    assert made[0].flags.c_contiguous and made[0].flags.owndata
    np.testing.assert_array_equal(made[1], made[0])
    np.testing.assert_array_equal(made[2], made[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 5))
def test_a_crop_is_cut_from_the_padded_image(x, y, channels):
    images = np.random.default_rng(7).integers(0, 256, (3, 20, 20, channels), dtype=np.uint8)
    wide = np.pad(images[1], ((60, 70), (60, 70), (0, 0)), constant_values=33)
    images.flags.writeable = False  # as a memory map of the cache
    seen = look(CropFovea(7, padding=33), images, 1, x, y)
    np.testing.assert_array_equal(seen, wide[y + 60 : y + 67, x + 60 : x + 67])


@pytest.mark.parametrize("scales", [(2,), (1, 2), (1, 3, 5), (1, 2, 3, 5)])
def test_any_number_of_scales_is_stacked_finest_first(scales, noise):
    """More than one take the same way through the tables, one alone is its own check."""
    seen = look(MultiscaleFovea(9, scales, padding=5), noise, 2, -3, 12)
    alone = [look(MultiscaleFovea(9, (k,), padding=5), noise, 2, -3, 12) for k in scales]
    np.testing.assert_array_equal(seen, np.concatenate(alone, axis=-1))
    np.testing.assert_array_equal(alone[0], look(MultiscaleFovea(9, scales[:1], padding=5), noise, 2, -3.0, 12.0))


@pytest.mark.parametrize("size", [8, 32, 144])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["multiscale", "blurred"])
def test_tables_agree_with_resampling_for_any_channels(kind, channels, size):
    """Whole-pixel positions given as floats take the other path; three levels of colour are woven at 32, not at 144."""
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (70, 17, 17, channels), dtype=np.uint8)
    count = 100 if size < 100 else 8
    index, corner = rng.integers(0, 70, count), rng.integers(-size, 17, (count, 2))
    corner[::8] *= 4  # far outside, where not even the coarsest square sees anything
    fovea = make_fovea(kind, size, padding=200)
    quick = fovea.sample(images, index, corner)
    slow = fovea.sample(images, index, corner.astype(np.float64))
    assert quick.shape == slow.shape == (count, size, size, fovea.channels(channels))
    np.testing.assert_allclose(quick, slow, atol=0 if kind == "multiscale" else 1)


def test_half_pixels_are_interpolated_and_the_border_blends_into_the_padding(ramps):
    fovea = CropFovea(2, padding=8)
    assert look(fovea, ramps, 1, 1.5, 2.0).tolist() == [[[100, 20, 15], [100, 20, 25]], [[100, 30, 15], [100, 30, 25]]]
    assert look(fovea, ramps, 1, 3.0, 0.2)[0, 0].tolist() == [100, 2, 30]
    assert look(fovea, ramps, 1, -0.5, 2.0)[0].tolist() == [[54, 14, 4], [100, 20, 5]]
    assert look(fovea, ramps, 1, 4.5, 2.0)[0].tolist() == [[100, 20, 45], [54, 14, 29]]
    assert (look(fovea, ramps, 1, 40.5, -30.0) == 8).all()


@pytest.mark.parametrize("kind", KINDS)
def test_whole_pixels_given_as_floats_see_the_same_fixation(kind, noise):
    fovea = make_fovea(kind, 8, padding=5)
    whole, floats = look(fovea, noise, 2, 11, 7), look(fovea, noise, 2, 11.0, 7.0)
    if kind == "logpolar":  # the nearest pixel against interpolation: alike where pixels are alike
        flat = np.full_like(noise, 90)
        np.testing.assert_array_equal(look(fovea, flat, 2, 11, 7), look(fovea, flat, 2, 11.0, 7.0))
    else:
        np.testing.assert_allclose(whole, floats, atol=1 if kind == "blurred" else 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(-40, 100), st.integers(-40, 100), st.sampled_from([0.5, 1.0, 1.25, 2.0, 3.75]))
def test_zoomed_crops_are_means_of_a_finer_image(x, y, scale):
    """On quarter pixels: enlarge the image four times, and take plain means over max(scale, 1) pixels."""
    images = np.random.default_rng(3).integers(0, 256, (1, 20, 20, 3), dtype=np.uint8)
    finer = images[0].repeat(4, axis=0).repeat(4, axis=1)
    finer = np.pad(finer, ((200, 200), (200, 200), (0, 0)), constant_values=9).astype(float)
    seen = look(CropFovea(4, padding=9), images, 0, x / 4, y / 4, scale)
    box = max(scale, 1.0)
    for row, column in ((0, 0), (1, 2), (3, 3)):
        left, top = (round(4 * (at / 4 + 2 + (k - 1.5) * scale - box / 2)) + 200 for at, k in ((x, column), (y, row)))
        side = round(4 * box)
        exact = finer[top : top + side, left : left + side].mean(axis=(0, 1))
        if (4 * (2 + 0.5 * scale - box / 2)) % 1 == 0:
            np.testing.assert_allclose(seen[row, column], exact, atol=0.501)


def test_zoom_two_is_the_second_scale_and_zoom_a_half_interpolates(noise, ramps):
    coarse = look(MultiscaleFovea(8, (1, 2), padding=3), noise, 4, 10, 13)[..., 3:]
    np.testing.assert_array_equal(look(CropFovea(8, padding=3), noise, 4, 10, 13, 2.0), coarse)
    # Gaze at (3, 3), samples half a pixel apart at 2.75 and 3.25, that is 2.25 and 2.75 pixels between centres.
    close = look(CropFovea(2), ramps, 0, 2, 2, 0.5)
    assert close[0, :, 2].tolist() == [23, 28]
    assert close[:, 0, 1].tolist() == [23, 28]


@pytest.mark.parametrize("corner", [(20, 23), (25, 18)])
def test_logpolar_is_cv2s_warp_polar(corner):
    image = np.random.default_rng(4).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    fovea = LogPolarFovea(15, 16.0)
    gaze = (corner[0] + 7.0, corner[1] + 7.0)  # cv2 counts from the centre of pixel 0
    nearest = cv2.warpPolar(image, (15, 15), gaze, 16.0, cv2.WARP_POLAR_LOG | cv2.INTER_NEAREST)
    np.testing.assert_array_equal(look(fovea, image[None], 0, *corner), nearest)
    smooth = cv2.GaussianBlur(image, (0, 0), 3)
    between = (gaze[0] + 0.3, gaze[1] - 0.4)
    linear = cv2.warpPolar(smooth, (15, 15), between, 16.0, cv2.WARP_POLAR_LOG | cv2.INTER_LINEAR)
    ours = look(fovea, smooth[None], 0, corner[0] + 0.3, corner[1] - 0.4)
    np.testing.assert_allclose(ours, linear.astype(int), atol=2)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_logpolar_sees_the_last_image_as_any_other(channels):
    """Behind it there are no bytes to read, so that it is read otherwise."""
    images = np.random.default_rng(1).integers(0, 256, (3, 40, 40, channels), dtype=np.uint8)
    images[0] = images[2]
    fovea = LogPolarFovea(16, 30.0, padding=9)
    corner = np.random.default_rng(2).integers(-20, 44, (50, 2))
    first, last = (fovea.sample(images, np.full(50, which), corner) for which in (0, 2))
    np.testing.assert_array_equal(first, last)
    assert len(np.unique(first)) > 100


def test_logpolar_rows_turn_from_right_to_down_and_columns_go_out(ramps):
    fovea = LogPolarFovea(4, 5.0, padding=7)  # radii 0, 0.50, 1.24, 2.34
    seen = look(fovea, ramps, 0, 1, 1)  # the gaze is the point (3, 3), where pixel (3, 3) begins
    assert seen[:, 0, 1:].tolist() == [[30, 30]] * 4
    assert seen[0, :, 2].tolist() == [30, 30, 40, 50]  # to the right, along row 3
    assert seen[1, :, 1].tolist() == [30, 30, 40, 50]  # down
    assert seen[2, :, 2].tolist() == [30, 20, 10, 0]  # to the left
    assert seen[3, :, 1].tolist() == [30, 20, 10, 0]  # up
    assert (look(fovea, ramps, 0, 5, 1)[0] == 7).all()  # the gaze a pixel beyond the right border
    wide = LogPolarFovea(4, 81.0)  # radii 0, 2, 8, 26
    assert wide.sample(ramps, np.array([0]), np.array([[9, 1]]))[0, 2, 2].tolist() == [0, 30, 30]
    assert look(wide, ramps, 0, -25, 1)[0, 3].tolist() == [0, 30, 30]  # the gaze at -23
    assert (look(fovea, ramps, 0, 900, 1) == 7).all()
    assert (look(fovea, ramps, 0, 1, -900) == 7).all()


def test_a_blurred_glimpse_is_sharp_at_the_gaze_and_a_mean_at_the_corners(noise):
    fovea = BlurredFovea(16, 3.0, padding=50)
    seen, sharp = look(fovea, noise, 3, 4, 9), look(CropFovea(16, padding=50), noise, 3, 4, 9)
    rows, columns = np.mgrid[:16, :16] - 7.5
    disc = np.hypot(rows, columns) <= 3
    assert disc.sum() > 20
    np.testing.assert_array_equal(seen[disc], sharp[disc])
    for row, column in ((0, 0), (0, 15), (15, 0), (15, 15)):
        np.testing.assert_array_equal(seen[row, column], box_mean(noise[3], 4 + column - 7, 9 + row - 7, 15, 50))
    contrast = [seen.astype(float)[np.abs(np.hypot(rows, columns) - r) < 1.5].std() for r in (1.5, 5, 9)]
    assert contrast[0] > contrast[1] > contrast[2]
    assert (look(fovea, np.full_like(noise, 50), 0, 22, -8) == 50).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_its_rows_and_a_small_store_changes_nothing(kind, noise, monkeypatch):
    rng = np.random.default_rng(5)
    index, corner = rng.integers(0, 5, 80), rng.integers(-9, 31, (80, 2))
    fovea = make_fovea(kind, 8, padding=5)
    together = fovea.sample(noise, index, corner)
    for row in (0, 33, 79):
        np.testing.assert_array_equal(together[row], look(fovea, noise, index[row], *corner[row]))
    assert not np.shares_memory(together, fovea.sample(noise, index, corner))
    other = 255 - noise
    assert (fovea.sample(other, index, corner) != together).any()  # no table of the images before
    monkeypatch.setattr(image_tables, "TABLE_BYTES", 1)
    np.testing.assert_array_equal(make_fovea(kind, 8, padding=5).sample(noise, index, corner), together)
    assert fovea.sample(noise, index[:0], corner[:0]).shape == (0, *together.shape[1:])


OPTIONS = [{"fovea": kind, **more} for kind in KINDS for more in ({}, {"subpixel": True}, {"zoom": (0.5, 3.0)})]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_worlds_see_through_every_fovea(toy_images, options):
    made = gym.make("GlimpseWorld/Saccade-v0", images=toy_images, glimpse_size=8, render_mode="rgb_array", **options)
    check_env(made.unwrapped)
    envs = SaccadeVectorEnv(toy_images, num_envs=3, glimpse_size=8, max_episode_steps=4, **options)
    single = SaccadeEnv(toy_images, glimpse_size=8, **options)
    obs, info = envs.reset(seed=1)
    one, one_info = single.reset(seed=2)
    rng = np.random.default_rng(0)
    for step in range(5):
        assert envs.observation_space.contains(obs)
        for key in one:
            np.testing.assert_array_equal(obs[key][1], one[key])
        equal(row_of(info, 1), one_info)
        seen = envs.world.view(info["index"], envs.world.pose, np.zeros((3, 4)))
        np.testing.assert_array_equal(seen, obs["glimpse"])
        if step < 4:
            actions = rng.uniform(-1.2, 1.2, envs.action_space.shape)
            obs, *_, info = envs.step(actions)
            one, *_, one_info = single.step(actions[1])
            copy = pickle.loads(pickle.dumps(single))
    state = envs.state()
    future = envs.step(envs.action_space.sample() * 0)
    other = SaccadeVectorEnv(toy_images, num_envs=3, glimpse_size=8, max_episode_steps=4, **options)
    other.set_state(state)
    np.testing.assert_array_equal(other.step(envs.action_space.sample() * 0)[0]["glimpse"], future[0]["glimpse"])
    np.testing.assert_array_equal(copy.step(np.zeros(single.action_space.shape))[0]["glimpse"], one["glimpse"])


@pytest.mark.parametrize("fovea", KINDS)
def test_every_fovea_starts_at_the_same_fixations(toy_images, fovea):
    info = SaccadeVectorEnv(toy_images, num_envs=20, glimpse_size=8, fovea=fovea).reset(seed=4)[1]
    plain = SaccadeVectorEnv(toy_images, num_envs=20, glimpse_size=8).reset(seed=4)[1]
    np.testing.assert_array_equal(info["position"], plain["position"])


def test_a_subpixel_gaze_lands_where_it_was_sent(toy_images):
    envs = SaccadeVectorEnv(toy_images, glimpse_size=8, start="center", subpixel=True)
    envs.reset(seed=0)
    obs, *_, info = envs.step(np.array([[0.33, -0.01]]))  # 6.6 pixels right, 0.2 up
    np.testing.assert_allclose(info["position"][0], [0.33, -0.01])
    np.testing.assert_allclose(obs["motion"][0], [0.33, -0.01])
    assert obs["glimpse"][0, 0, 0, 1:].tolist() == [16, 23]  # 15.8 and 22.6
    *_, info = envs.step(np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(info["position"][0], [0.8, -0.01])  # the limit of reach


def test_zoom_is_a_third_component_that_adds_up_in_octaves(toy_images):
    envs = SaccadeVectorEnv(toy_images, glimpse_size=8, start="center", zoom=(0.5, 3.0))
    assert envs.single_action_space.shape == envs.single_observation_space["motion"].shape == (3,)
    obs, info = envs.reset(seed=0)
    assert info["zoom"].tolist() == [1.0]
    assert info["position"].shape == (1, 2)
    assert obs["motion"].tolist() == [[0, 0, 0]]
    assert obs["glimpse"][0, 0, 0, 1:].tolist() == [16, 16]
    obs, *_, info = envs.step(np.array([[0.0, 0.0, 1.0]]))  # twice as wide: the first pixel is the mean of 12 and 13
    assert info["zoom"].tolist() == [2.0]
    assert obs["motion"].tolist() == [[0, 0, 1]]
    assert obs["glimpse"][0, 0, 0, 1:].tolist() == [13, 13]
    obs, *_, info = envs.step(np.array([[0.1, 0.0, 1.0]]))  # stops at 3
    assert info["zoom"].tolist() == [3.0]
    np.testing.assert_allclose(obs["motion"][0], [0.1, 0, np.log2(1.5)], atol=1e-6)
    np.testing.assert_allclose(envs.world.pose[0], [0.1, 0, np.log2(3)])
    for _ in range(3):
        obs, *_, info = envs.step(np.array([[0.0, 0.0, -1.0]]))
    assert info["zoom"].tolist() == [0.5]


def test_poses_with_zoom_are_drawn_over_the_range_and_reached(toy_images):
    envs = SaccadeVectorEnv(toy_images, num_envs=400, glimpse_size=8, max_amplitude=2.0, zoom=(0.5, 2.0))
    _, info = envs.reset(seed=0)
    octaves = np.log2(info["zoom"])
    assert abs(octaves.mean()) < 0.15
    assert octaves.min() < -0.9
    assert octaves.max() > 0.9
    goal = envs.world.draw_poses(np.random.default_rng(0).random((400, 3)))
    for _ in range(2):  # two octaves at most, one a motion
        *_, info = envs.step(envs.world.actions_towards(goal))
    np.testing.assert_allclose(envs.world.pose, goal, atol=1e-9)
    clipped = SaccadeWorld(toy_images, glimpse_size=8, start="center", zoom=(2.0, 4.0))
    assert clipped.draw_poses(np.zeros((1, 3))).tolist() == [[0, 0, 1]]


def test_view_sets_take_poses_with_zoom(toy_images):
    from glimpseworld.experiments.view_sets import make_view_set

    world = SaccadeWorld(toy_images, glimpse_size=8, zoom=(0.5, 2.0), fovea="multiscale")
    made = make_view_set(world, np.arange(4), 5, np.random.default_rng(0))
    assert made.views.shape == (4, 5, 8, 8, 9)
    assert made.poses.shape == (4, 5, 3)
    motions = made.motions(np.arange(4), np.zeros(4, dtype=int), np.ones(4, dtype=int))
    np.testing.assert_allclose(motions, made.poses[:, 1] - made.poses[:, 0], atol=1e-6)


def test_frames_outline_the_whole_field(toy_images, monkeypatch):
    import glimpseworld.envs.display as display

    drawn = {}
    monkeypatch.setattr(display, "saccade_frame", lambda image, path, glimpse, **more: drawn.update(more, path=path))
    expected = {"crop": 8, "multiscale": 32, "logpolar": 16, "blurred": 8}
    for kind, field in expected.items():
        env = SaccadeEnv(toy_images, glimpse_size=8, fovea=kind, start="center", zoom=(1, 2), render_mode="rgb_array")
        env.reset(seed=0)
        env.step(np.array([0.0, 0.0, 1.0]))
        env.render()
        assert drawn["fovea_size"] == 2 * field
        assert drawn["path"].shape == (2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fovea": "fisheye"}, "fovea must be one of crop, multiscale, logpolar, blurred; got 'fisheye'"),
        ({"scales": (1, 2)}, "scales are those of"),
        ({"fovea": "multiscale", "scales": (2, 1)}, "that rise"),
        ({"fovea": "multiscale", "scales": (0, 1)}, "above 0"),
        ({"fovea": "multiscale", "scales": ()}, "above 0"),
        ({"radius": 3}, "radius is that of"),
        ({"fovea": "logpolar", "radius": 1}, "above 1 pixel"),
        ({"fovea": "blurred", "radius": 0}, "above 0 pixels"),
        ({"zoom": (2, 1)}, "nearest < farthest"),
        ({"zoom": (0, 1)}, "0 < nearest"),
        ({"zoom": (1,)}, "nearest, farthest"),
    ],
)
def test_bad_options(toy_images, options, message):
    with pytest.raises(ValueError, match=message):
        SaccadeWorld(toy_images, glimpse_size=8, **options)


def test_images_of_many_channels_are_for_the_crop_alone():
    images = ImageSet(np.zeros((1, 10, 10, 7), dtype=np.uint8), np.zeros(1, dtype=int), ("one",))
    assert SaccadeWorld(images, glimpse_size=4).glimpse_space.shape == (4, 4, 7)
    for kind in KINDS[1:]:
        with pytest.raises(ValueError, match="1 to 4 channels, got 7"):
            SaccadeWorld(images, glimpse_size=4, fovea=kind)
