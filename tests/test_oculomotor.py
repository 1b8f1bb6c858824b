"""What the eye really does of what it was told to: motion signals, and the oculomotor model."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from glimpseworld.envs.object_rotation import ObjectRotationEnv, ObjectRotationVectorEnv
from glimpseworld.envs.saccade import SaccadeEnv, SaccadeVectorEnv

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
