"""What the eye really does of what it was told to: motion signals, and the oculomotor model."""

import json

import gymnasium as gym
import numpy as np
import pytest
from batches import equal, row_of
from scipy.spatial.transform import Rotation

import glimpseworld.envs  # noqa: F401 - registers the ids
from glimpseworld.envs.draws import EpisodeDraws
from glimpseworld.envs.eye.oculomotor import Oculomotor
from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.object_rotation import ObjectRotationEnv, ObjectRotationVectorEnv
from glimpseworld.envs.saccade import SaccadeEnv, SaccadeVectorEnv, SaccadeWorld

NOISY = {"amplitude_limit": 0.4, "gain": 0.9, "gain_std": 0.1, "scatter": 0.02, "scatter_slope": 0.1}
SMALL = {"members_per_family": 1, "size": 16}


def saccades(toy_images, num_envs=1, **options):
    return SaccadeVectorEnv(toy_images, num_envs=num_envs, glimpse_size=8, **{"max_amplitude": 0.5, **options})


@pytest.mark.parametrize("signal", ["realised", "commanded"])
def test_the_motion_is_what_was_done_or_what_was_commanded(toy_images, signal):
    envs = saccades(toy_images, start="center", motion_signal=signal)
    obs, info = envs.reset(seed=0)
    for key in ("motion_realised", "motion_commanded"):
        assert info[key].tolist() == [[0, 0]]
        assert info[f"_{key}"].all()
    # 40 x 40 pixels, 20 an image unit: 0.5 * 0.33 = 3.3 pixels down land on 3; clipped at 1, 10 pixels right.
    obs, *_, info = envs.step(np.array([[1.7, 0.33]]))
    np.testing.assert_allclose(info["motion_realised"], [[0.5, 0.15]], atol=1e-7)
    np.testing.assert_allclose(info["motion_commanded"], [[0.5, 0.165]], atol=1e-7)
    np.testing.assert_array_equal(obs["motion"], info[f"motion_{signal}"])
    # Another 10 pixels right would be 20 from the centre; the glimpse reaches the border at 16.
    obs, *_, info = envs.step(np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(info["motion_realised"], [[0.3, 0.0]], atol=1e-7)
    np.testing.assert_allclose(info["motion_commanded"], [[0.5, 0.0]], atol=1e-7)
    np.testing.assert_array_equal(obs["motion"], info[f"motion_{signal}"])
    obs, info = envs.reset()
    assert not obs["motion"].any() and not info["motion_realised"].any() and not info["motion_commanded"].any()


def test_rotations_that_are_stopped_have_an_efference_copy():
    options = {"num_envs": 64, "max_angle": 0.8, "rotation": "3diebench", **SMALL}
    real, copy = (ObjectRotationVectorEnv(motion_signal=s, **options) for s in ("realised", "commanded"))
    (_, info), _ = real.reset(seed=1), copy.reset(seed=1)
    actions = np.random.default_rng(0).uniform(-1, 1, (64, 3))
    before = Rotation.from_quat(info["orientation"])
    obs, *_, info = real.step(actions)
    other, *_ = copy.step(actions)
    np.testing.assert_array_equal(obs["motion"], info["motion_realised"])
    np.testing.assert_array_equal(other["motion"], info["motion_commanded"])
    np.testing.assert_array_equal(other["glimpse"], obs["glimpse"])
    done, asked = (Rotation.from_quat(info[f"motion_{s}"]) for s in ("realised", "commanded"))
    assert ((before * done).inv() * Rotation.from_quat(info["orientation"])).magnitude().max() < 1e-5
    np.testing.assert_allclose(asked.magnitude(), np.linalg.norm(actions, axis=1) * 0.8, atol=1e-6)
    assert (asked.as_quat()[:, 3] >= 0).all()
    stopped = done.magnitude() < asked.magnitude() - 1e-3
    assert 5 < stopped.sum() < 60
    np.testing.assert_array_equal(info["motion_realised"][~stopped], info["motion_commanded"][~stopped])


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_motions_of_a_row_that_begins_anew_are_zero(toy_images, mode):
    envs = saccades(toy_images, 3, autoreset_mode=mode, max_episode_steps=2, motion_signal="commanded")
    envs.reset(seed=0)
    envs.step(np.full((3, 2), 0.4))
    if mode == "Disabled":
        obs, info = envs.reset(options={"reset_mask": np.array([False, True, False])})
        assert (info["motion_commanded"] != 0).all(axis=1).tolist() == [True, False, True]
        assert (info["motion_realised"] != 0).any(axis=1).tolist() == [True, False, True]
        return
    obs, *_, info = envs.step(np.full((3, 2), -0.4))
    if mode == "SameStep":
        np.testing.assert_allclose(info["final_info"]["motion_commanded"], -0.2, atol=1e-7)
        np.testing.assert_allclose(info["final_obs"][1]["motion"], -0.2, atol=1e-7)
    else:
        obs, *_, info = envs.step(np.full((3, 2), -0.4))
    assert not obs["motion"].any() and not info["motion_commanded"].any() and not info["motion_realised"].any()


def test_an_unknown_motion_signal_is_refused(toy_images):
    message = 'motion_signal must be "realised" or "commanded", got \'intended\''
    with pytest.raises(ValueError, match=message):
        SaccadeEnv(toy_images, glimpse_size=8, motion_signal="intended")
    with pytest.raises(ValueError, match=message):
        ObjectRotationEnv(motion_signal="intended", **SMALL)


@pytest.fixture(scope="module")
def large_image():
    """One image of 1000 x 1000, whose pixels of 0.002 image units hardly round a landing."""
    return ImageSet(np.zeros((1, 1000, 1000, 1), dtype=np.uint8), np.zeros(1, dtype=int), ("a",))


def draws(count):
    return EpisodeDraws(np.arange(count, dtype=np.uint64), np.zeros(count, dtype=np.int64))


def test_normal_draws_are_normal_and_independent():
    n = 50_000
    z = np.concatenate([draws(n).normal(1, 3, np.full(n, 1)), draws(n).normal(1, 1, np.full(n, 2))], axis=1)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):  # moments of N(0, 1)
        assert np.abs((z**power).mean(axis=0) - moment).max() < 4 * np.sqrt(variance / n)
    assert np.abs(np.corrcoef(z.T) - np.eye(4)).max() < 4 / np.sqrt(n)
    assert (np.abs(z) < 1.96).mean() == pytest.approx(0.95, abs=0.005)
    np.testing.assert_array_equal(z[7, :3], EpisodeDraws(np.array([7], np.uint64), np.zeros(1)).normal(1, 3, 1)[0])


def test_a_landing_worked_out_by_hand():
    # (0.3, 0.4) is 0.5 long, cut to (0.15, 0.2), 0.25 long; gain 0.8 + 0.1; std 0.01 + 0.2 * 0.25 = 0.06.
    eye = Oculomotor(amplitude_limit=0.25, gain=0.8, gain_std=0.1, scatter=0.01, scatter_slope=0.2)
    normals = np.array([[1.0, -1.0, 2.0], [3.0, 1.0, 0.0]])
    landed = eye.land(np.array([[0.3, 0.4], [0.0, 0.0]]), normals)
    np.testing.assert_allclose(landed, [[0.135 - 0.06, 0.18 + 0.12], [0.01, 0.0]])
    short = np.array([[-0.03, 0.04]])  # below the limit: as it is
    np.testing.assert_array_equal(Oculomotor(amplitude_limit=0.25).land(short, normals[:1]), short)
    np.testing.assert_array_equal(Oculomotor().land(np.array([[-0.7, 0.1]]), normals[:1]), [[-0.7, 0.1]])


@pytest.mark.parametrize("angle", [0.3, 2.0, 4.4])
@pytest.mark.parametrize("amplitude", [0.1, 0.5])
def test_gain_errs_along_the_saccade_and_scatter_grows_with_it(angle, amplitude):
    n = 20_000
    eye = Oculomotor(gain=0.95, gain_std=0.08, scatter=0.01, scatter_slope=0.05)
    along = np.array([np.cos(angle), np.sin(angle)])
    landed = eye.land(np.tile(amplitude * along, (n, 1)), draws(n).normal(3, 3, 1))
    first, second = landed @ along, landed @ np.array([-along[1], along[0]])
    std = 0.01 + 0.05 * amplitude
    variances = ((0.08 * amplitude) ** 2 + std**2, std**2)
    assert abs(first.mean() - 0.95 * amplitude) < 4 * np.sqrt(variances[0] / n)
    assert abs(second.mean()) < 4 * np.sqrt(variances[1] / n)
    for sample, variance in zip((first, second), variances, strict=True):
        assert abs(sample.var() / variance - 1) < 4 * np.sqrt(2 / n)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(n)


def test_the_gaze_of_the_world_errs_as_the_model_says(large_image):
    n = 4000
    eye = {"gain": 0.8, "gain_std": 0.1, "scatter": 0.01, "scatter_slope": 0.1}
    envs = SaccadeVectorEnv(large_image, num_envs=n, glimpse_size=1, max_amplitude=0.5, start="center", oculomotor=eye)
    envs.reset(seed=0)
    errors = []
    for sign in (1, -1):
        *_, info = envs.step(np.tile([sign * 0.6, sign * 0.8], (n, 1)))
        np.testing.assert_allclose(info["motion_commanded"], np.tile([sign * 0.3, sign * 0.4], (n, 1)), atol=1e-7)
        along = info["motion_realised"] @ [sign * 0.6, sign * 0.8]
        across = info["motion_realised"] @ [-sign * 0.8, sign * 0.6]
        assert along.mean() == pytest.approx(0.4, abs=4 * 0.0781 / np.sqrt(n))  # 0.8 * 0.5; std below
        assert along.std() == pytest.approx(0.0781, rel=4 / np.sqrt(2 * n))  # of 0.1 * 0.5 and 0.01 + 0.1 * 0.5
        assert across.std() == pytest.approx(0.06, rel=4 / np.sqrt(2 * n))
        errors += [along, across]
    assert np.abs(np.corrcoef(errors) - np.eye(4)).max() < 4 / np.sqrt(n)  # each saccade errs anew


def test_errors_do_not_depend_on_what_was_done_before(large_image):
    def third_error(scale):
        envs = SaccadeVectorEnv(large_image, num_envs=5, glimpse_size=1, start="center", oculomotor={"scatter": 0.05})
        envs.reset(seed=8)
        for step in range(3):
            *_, info = envs.step(np.full((5, 2), scale * (-1) ** step))
        return info["motion_realised"] - info["motion_commanded"]

    np.testing.assert_allclose(third_error(0.1), third_error(0.3), atol=0.0041)  # of two pixels of 0.002
    assert np.abs(third_error(0.1)).min(axis=1).max() > 0.02


def test_the_limit_cuts_along_the_direction(toy_images):
    envs = saccades(toy_images, start="center", max_amplitude=1.0, oculomotor={"amplitude_limit": 0.5})
    envs.reset(seed=0)
    *_, info = envs.step(np.array([[-0.6, 0.8]]))
    np.testing.assert_allclose(info["position"], [[-0.3, 0.4]], atol=1e-12)
    np.testing.assert_allclose(info["motion_commanded"], [[-0.6, 0.8]], atol=1e-7)
    *_, info = envs.step(np.array([[0.3, -0.4]]))
    np.testing.assert_allclose(info["position"], [[0.0, 0.0]], atol=1e-12)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_noisy_sub_envs_equal_single_ones(toy_images, mode):
    options = {"oculomotor": NOISY, "motion_signal": "commanded", "max_amplitude": 0.7, "glimpse_size": 8}
    vector = SaccadeVectorEnv(toy_images, num_envs=3, autoreset_mode=mode, max_episode_steps=4, **options)
    singles = [SaccadeEnv(toy_images, **options) for _ in range(3)]
    obs, info = vector.reset(seed=2)
    seen = [single.reset(seed=2 + i) for i, single in enumerate(singles)]
    rng = np.random.default_rng(0)
    for step in range(1, 16):
        for i, (single_obs, single_info) in enumerate(seen):
            equal(row_of(obs, i), single_obs)
            equal(row_of(info, i), single_info)
        actions = rng.uniform(-1, 1, (3, 2))
        obs, *_, info = vector.step(actions)
        fresh = step % 5 == 0 if mode == "NextStep" else step % 4 == 0
        for i, single in enumerate(singles):
            if not fresh or mode == "SameStep":
                step_obs, *_, step_info = single.step(actions[i])
                seen[i] = step_obs, step_info
            if fresh:
                seen[i] = single.reset()


def test_a_noisy_future_is_restored(toy_images):
    options = {"oculomotor": NOISY, "max_episode_steps": 5}
    first, other = saccades(toy_images, 4, **options), saccades(toy_images, 4, **options)
    first.reset(seed=3)
    actions = np.random.default_rng(0).uniform(-1, 1, (14, 4, 2))
    for action in actions[:3]:
        first.step(action)
    other.set_state(first.state())
    np.testing.assert_array_equal(other.info()["motion_commanded"], first.info()["motion_commanded"])
    assert other.info()["motion_realised"].any()
    for action in actions[3:]:
        expected, got = first.step(action), other.step(action)
        for key in expected[0]:
            np.testing.assert_array_equal(got[0][key], expected[0][key])
        for key in ("position", "motion_realised", "motion_commanded"):
            np.testing.assert_array_equal(got[4][key], expected[4][key])


@pytest.mark.parametrize("signal", ["realised", "commanded"])
def test_a_wild_eye_stays_within_reach_and_the_spaces(toy_images, signal):
    wild = {"gain": 3.0, "gain_std": 5.0, "scatter": 50.0}
    options = {"max_amplitude": 2.0, "reach": 1.0, "oculomotor": wild, "motion_signal": signal}
    envs = gym.make_vec("GlimpseWorld/Saccade-v0", 20, images=toy_images, glimpse_size=8, **options)
    obs, info = envs.reset(seed=0)
    for _ in range(20):
        assert obs in envs.observation_space
        assert np.abs(info["position"]).max() <= 1
        obs, *_, info = envs.step(envs.action_space.sample())


def test_a_perfect_eye_changes_nothing(toy_images):
    plain, perfect = saccades(toy_images, 4), saccades(toy_images, 4, oculomotor=json.loads("{}"))
    plain.reset(seed=0), perfect.reset(seed=0)
    for action in np.random.default_rng(0).uniform(-1, 1, (10, 4, 2)):
        one, two = plain.step(action)[4], perfect.step(action)[4]
        np.testing.assert_array_equal(one["position"], two["position"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gian": 0.9}, r"oculomotor has no settings \['gian'\]; it has \['amplitude_limit', 'gain'"),
        ([0.9], "oculomotor must be a dict"),
        ({"gain": "high"}, "oculomotor's gain must be a finite number at least 0, got 'high'"),
        ({"gain_std": -0.1}, "oculomotor's gain_std must be a finite number at least 0, got -0.1"),
        ({"scatter": float("nan")}, "oculomotor's scatter must be a finite number"),
        ({"scatter_slope": True}, "oculomotor's scatter_slope must be a finite number"),
        ({"amplitude_limit": 0}, "oculomotor's amplitude_limit must be a finite number above 0, got 0"),
    ],
)
def test_bad_oculomotor_settings(toy_images, options, message):
    with pytest.raises(ValueError, match=message):
        SaccadeWorld(toy_images, glimpse_size=8, oculomotor=options)
