"""Motions compose as SciPy's rotations do, and no window of the replay holds what it should not."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from glimpseworld.world_model.motion import MotionKind, compose, identity, inverse, relative
from glimpseworld.world_model.replay import SequenceReplay, Windows

BOTH_KINDS = pytest.mark.parametrize("kind", ["translation", "rotation"])
ALL_KINDS = pytest.mark.parametrize("kind", ["translation", "rotation", "rotation-colour"])
MODES: tuple[Literal["adjacent", "hindsight"], ...] = ("adjacent", "hindsight")


def draw_motions(kind: MotionKind, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    if kind == "translation":
        return generator.uniform(-1, 1, (*shape, 2)).astype(np.float32)
    if kind == "rotation-colour":
        parts = [draw_motions(part, shape, generator) for part in ("rotation", "translation")]
        return np.concatenate(parts, axis=-1)
    vectors = generator.uniform(-1.5, 1.5, (*shape, 3)).reshape(-1, 3)
    return canonical(Rotation.from_rotvec(vectors).as_quat()).reshape(*shape, 4).astype(np.float32)


def canonical(quaternion: np.ndarray) -> np.ndarray:
    return np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


# ------------------------------------------------------------------------------------------------------------- motions


def test_rotations_agree_with_scipy() -> None:
    generator = np.random.default_rng(0)
    a, b = Rotation.random(200, generator), Rotation.random(200, generator)
    qa, qb = a.as_quat(), b.as_quat()
    np.testing.assert_allclose(compose("rotation", qa, qb), canonical((a * b).as_quat()), atol=1e-12)
    np.testing.assert_allclose(relative("rotation", qa, qb), canonical((a.inv() * b).as_quat()), atol=1e-12)
    np.testing.assert_allclose(inverse("rotation", qa), canonical(a.inv().as_quat()), atol=1e-12)


def test_translations_by_hand() -> None:
    a, b = np.array([0.25, -0.5]), np.array([1.0, 0.125])
    np.testing.assert_array_equal(compose("translation", a, b), [1.25, -0.375])
    np.testing.assert_array_equal(relative("translation", a, b), [0.75, 0.625])
    np.testing.assert_array_equal(inverse("translation", a), [-0.25, 0.5])


def test_a_quarter_turn_is_of_the_objects_own_frame() -> None:
    half = np.sqrt(0.5)
    about_x, about_z = np.array([half, 0, 0, half]), np.array([0, 0, half, half])
    # First about x, then about the object's own z, which by then points along -y: y of the object ends up along -x.
    turned = Rotation.from_quat(compose("rotation", about_x, about_z)).apply([0.0, 1.0, 0.0])
    np.testing.assert_allclose(turned, [-1, 0, 0], atol=1e-12)


@ALL_KINDS
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_motions_form_a_group(kind: MotionKind, seed: int) -> None:
    a, b, c = draw_motions(kind, (3, 5), np.random.default_rng(seed)).astype(np.float64)
    still = identity(kind, a.shape)

    def same(left: np.ndarray, right: np.ndarray) -> None:
        if kind != "translation":  # q and -q are one rotation, and w = 0 has no preferred sign
            sign = np.sign((left[..., :4] * right[..., :4]).sum(-1, keepdims=True))
            left = np.concatenate([left[..., :4] * sign, left[..., 4:]], axis=-1)
        np.testing.assert_allclose(left, right, atol=1e-9)

    unit = a.copy()
    if kind != "translation":
        unit[..., :4] /= np.linalg.norm(a[..., :4], axis=-1, keepdims=True)
    same(compose(kind, a, still), unit)
    same(compose(kind, a, inverse(kind, a)), still)
    same(compose(kind, compose(kind, a, b), c), compose(kind, a, compose(kind, b, c)))
    same(relative(kind, a, compose(kind, a, b)), compose(kind, still, b))
    same(compose(kind, relative(kind, a, b), relative(kind, b, c)), relative(kind, a, c))


@ALL_KINDS
def test_motions_broadcast_keep_float32_and_w_above_zero(kind: MotionKind) -> None:
    motions = draw_motions(kind, (4, 6), np.random.default_rng(1))
    difference = relative(kind, motions[:, :1], motions)
    assert difference.shape == motions.shape
    assert difference.dtype == np.float32
    if kind != "translation":
        assert (difference[..., 3] >= 0).all()
        np.testing.assert_allclose(np.linalg.norm(difference[..., :4], axis=-1), 1, atol=1e-6)
    if kind == "rotation-colour":
        np.testing.assert_array_equal(difference[..., 4:], motions[..., 4:] - motions[:, :1, 4:])


def test_half_turns_are_scaled_not_broken() -> None:
    half_turn = np.array([0.0, 2.0, 0.0, -0.0])
    np.testing.assert_array_equal(compose("rotation", half_turn, identity("rotation", (4,))), [0, 1, 0, 0])


def test_identity_refuses_a_rotation_that_is_no_quaternion() -> None:
    with pytest.raises(ValueError, match="quaternion of 4"):
        identity("rotation", (5, 3))


# -------------------------------------------------------------------------------------------------------------- replay


class Rollout(NamedTuple):
    """What was fed, by add call and sub-environment, and the truth of it."""

    glimpse: np.ndarray  # (T, B, 1, 2, 3) uint8, see `decode`
    motion: np.ndarray  # (T, B, A) float32
    first: np.ndarray  # (T, B) bool
    episode: np.ndarray  # (T, B)
    pose: np.ndarray  # (T, B, A) float64, by SciPy


def make_rollout(kind: MotionKind, steps: int, num_envs: int, reset_chance: float, seed: int) -> Rollout:
    generator = np.random.default_rng(seed)
    first = generator.random((steps, num_envs)) < reset_chance
    first[0] = True
    # A reset row's motion means nothing: zeros in the environments, here numbers that would spoil every later pose.
    motion = np.where(first[..., None], np.float32(np.nan), draw_motions(kind, (steps, num_envs), generator))
    pose = np.zeros(motion.shape)
    for t in range(steps):
        for b in range(num_envs):
            if kind == "translation":
                pose[t, b] = 0 if first[t, b] else pose[t - 1, b] + motion[t, b]
            elif first[t, b]:
                pose[t, b] = Rotation.identity().as_quat()
            else:
                pose[t, b] = (Rotation.from_quat(pose[t - 1, b]) * Rotation.from_quat(motion[t, b])).as_quat()
    time, env = np.indices(first.shape)
    episode = np.cumsum(first, axis=0) - 1
    pixels = np.stack([time % 256, time // 256, env, episode % 256, episode // 256, 0 * env + 9], axis=-1)
    return Rollout(pixels.astype(np.uint8).reshape(steps, num_envs, 1, 2, 3), motion, first, episode, pose)


def make_replay(kind: MotionKind, capacity: int, num_envs: int) -> SequenceReplay:
    return SequenceReplay(capacity, (1, 2, 3), kind, 2 if kind == "translation" else 4, num_envs)


def feed(replay: SequenceReplay, rollout: Rollout, start: int = 0, stop: int | None = None) -> None:
    for t in range(start, len(rollout.first) if stop is None else stop):
        replay.add(rollout.glimpse[t], rollout.motion[t], rollout.first[t])


def decode(views: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read add call, sub-environment and episode (each N, M + K) out of the pixels."""
    flat = views.reshape(*views.shape[:2], 6).astype(np.int64)
    return flat[..., 0] + 256 * flat[..., 1], flat[..., 2], flat[..., 3] + 256 * flat[..., 4]


def check_windows(windows: Windows, rollout: Rollout, kind: MotionKind, oldest: int, adjacent: bool) -> None:
    time, env, episode = decode(windows.views)
    np.testing.assert_array_equal(time, windows.step)
    np.testing.assert_array_equal(env, np.broadcast_to(windows.env[:, None], env.shape))
    np.testing.assert_array_equal(episode, np.broadcast_to(windows.episode[:, None], env.shape))
    assert time.min() >= oldest
    assert (np.diff(np.sort(time, axis=1), axis=1) > 0).all()
    if adjacent:
        assert (np.diff(time, axis=1) == 1).all()
        context = windows.context
        np.testing.assert_allclose(
            windows.motions[:, :context], rollout.motion[time, env][:, 1 : context + 1], atol=1e-6
        )
    pose = rollout.pose[time, env]
    for k in range(time.shape[1] - 1):
        origin, target = pose[:, min(k, windows.context - 1)], pose[:, k + 1]
        if kind == "translation":
            np.testing.assert_allclose(windows.motions[:, k], target - origin, atol=1e-5)
        else:
            truth = Rotation.from_quat(origin).inv() * Rotation.from_quat(target)
            assert (Rotation.from_quat(windows.motions[:, k]) * truth.inv()).magnitude().max() < 1e-5
            assert (windows.motions[:, k, 3] >= 0).all()


@BOTH_KINDS
@given(
    steps=st.integers(1, 60),
    num_envs=st.integers(1, 4),
    slots=st.integers(1, 40),
    reset_chance=st.sampled_from([0.0, 0.1, 0.4]),
    context=st.integers(1, 4),
    targets=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_windows_hold_one_episode_and_its_motions(
    kind: MotionKind, steps: int, num_envs: int, slots: int, reset_chance: float, context: int, targets: int, seed: int
) -> None:
    rollout = make_rollout(kind, steps, num_envs, reset_chance, seed)
    replay = make_replay(kind, slots * num_envs, num_envs)
    feed(replay, rollout)
    oldest = max(0, steps - slots)
    assert len(replay) == num_envs * (steps - oldest)
    stored = rollout.episode[oldest:]
    longest = max(np.unique(stored[:, b], return_counts=True)[1].max() for b in range(num_envs))
    assert replay.can_sample(context, targets) == (longest >= context + targets)
    for mode in MODES:
        generator = np.random.default_rng(seed)
        if longest < context + targets:
            with pytest.raises(ValueError, match=f"no episode with {context + targets} views yet"):
                replay.sample(8, context=context, targets=targets, mode=mode, generator=generator)
            continue
        windows = replay.sample(8, context=context, targets=targets, mode=mode, generator=generator)
        assert windows.views.shape == (8, context + targets, 1, 2, 3)
        assert windows.motions.shape == (8, context - 1 + targets, rollout.motion.shape[-1])
        assert windows.motions.dtype == np.float32
        check_windows(windows, rollout, kind, oldest, adjacent=mode == "adjacent")


def test_translations_by_hand_through_a_reset() -> None:
    replay = SequenceReplay(10, (1, 1, 1), "translation", 2, 1)
    steps = [(0, 0), (0.5, 0), (0, 0.25), (9, 9), (-0.25, 0.5), (0.5, 0.5), (0.125, 0)]
    for t, motion in enumerate(steps):
        replay.add(np.full((1, 1, 1, 1), t, np.uint8), np.array([motion], np.float32), np.array([t in (0, 3)]))
    generator = np.random.default_rng(0)
    windows = replay.sample(64, context=2, targets=2, mode="adjacent", generator=generator)
    np.testing.assert_array_equal(windows.views[:, :, 0, 0, 0], np.tile([3, 4, 5, 6], (64, 1)))
    np.testing.assert_array_equal(windows.motions, np.tile([[-0.25, 0.5], [0.5, 0.5], [0.625, 0.5]], (64, 1, 1)))
    windows = replay.sample(64, context=1, targets=2, mode="adjacent", generator=generator)
    first = windows.views[:, 0, 0, 0, 0] == 0
    assert 0 < first.sum() < 64
    np.testing.assert_array_equal(windows.motions[first], np.tile([[0.5, 0], [0.5, 0.25]], (first.sum(), 1, 1)))


@pytest.mark.parametrize(("mode", "starts"), [("adjacent", 9 - 3 + 5 - 3), ("hindsight", 9 + 5)])
def test_every_start_is_equally_likely(mode: Literal["adjacent", "hindsight"], starts: int) -> None:
    replay = make_replay("translation", 40, 2)
    ends = {0: (9,), 1: (2, 7, 9)}  # episodes of 9; of 2, 5 and 2 views: windows of 4 fit in those of 9 and 5
    for t in range(9):
        first = np.array([t == 0, t == 0 or t in ends[1]])
        pixels = np.array([[t, 0, 0, 0, 0, 0], [t, 0, 1, 0, 0, 0]], np.uint8).reshape(2, 1, 2, 3)
        replay.add(pixels, np.full((2, 2), 0.5, np.float32), first)
    draws = 20_000
    windows = replay.sample(draws, context=3, targets=1, mode=mode, generator=np.random.default_rng(0))
    _, counts = np.unique(windows.env * 100 + windows.step[:, 0], return_counts=True)
    assert len(counts) == starts
    expected = draws / starts
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)  # 5 standard deviations
    if mode == "hindsight":  # every other view of the same episode is as likely to come last
        last = windows.step[(windows.env == 0) & (windows.step[:, 0] == 4), -1]
        _, counts = np.unique(last, return_counts=True)
        assert len(counts) == 8
        assert np.abs(counts - len(last) / 8).max() < 5 * np.sqrt(len(last) / 8)


def test_new_views_can_be_drawn_at_once() -> None:
    replay = make_replay("translation", 20, 1)
    rollout = make_rollout("translation", 30, 1, 0.0, 0)
    feed(replay, rollout, stop=2)
    assert not replay.can_sample(2, 1)
    for t in range(2, 30):
        feed(replay, rollout, start=t, stop=t + 1)
        windows = replay.sample(400, context=2, targets=1, mode="adjacent", generator=np.random.default_rng(0))
        assert windows.step.min() == max(0, t - 19)
        assert windows.step.max() == t
    earlier = make_replay("translation", 20, 1)
    feed(earlier, rollout, stop=2)
    replay.load_state_dict(earlier.state_dict())
    assert not replay.can_sample(2, 1)


def test_the_first_view_begins_an_episode_whatever_it_says() -> None:
    replay, rollout = make_replay("rotation", 20, 2), make_rollout("rotation", 8, 2, 0.0, 0)
    for t in range(3, 8):
        replay.add(rollout.glimpse[t], rollout.motion[t], rollout.first[t])
    windows = replay.sample(32, context=4, targets=1, mode="hindsight", generator=np.random.default_rng(0))
    shifted = windows._replace(step=windows.step + 3)
    check_windows(shifted, rollout, "rotation", 3, adjacent=False)
    np.testing.assert_array_equal(windows.episode, 0)


def test_context_is_drawn_from_its_range() -> None:
    replay = make_replay("translation", 60, 1)
    feed(replay, make_rollout("translation", 8, 1, 0.0, 0))
    assert replay.can_sample((1, 5), 3)
    assert not replay.can_sample((1, 6), 3)
    generator = np.random.default_rng(0)
    drawn = {
        (w.context, w.views.shape[1])
        for w in (replay.sample(2, context=(2, 5), targets=3, mode="hindsight", generator=generator) for _ in range(60))
    }
    assert drawn == {(m, m + 3) for m in (2, 3, 4, 5)}


def test_equal_generators_draw_equal_windows() -> None:
    replay = make_replay("rotation", 120, 3)
    feed(replay, make_rollout("rotation", 50, 3, 0.1, 0))

    def draw(seed: int) -> Windows:
        return replay.sample(16, context=(1, 3), targets=2, mode="hindsight", generator=np.random.default_rng(seed))

    np.testing.assert_array_equal(draw(3).views, draw(3).views)
    np.testing.assert_array_equal(draw(3).motions, draw(3).motions)
    assert draw(3).step.tolist() != draw(4).step.tolist()


@BOTH_KINDS
@given(cut=st.integers(0, 40), slots=st.integers(3, 30), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_restored_replay_goes_on_as_if_uninterrupted(kind: MotionKind, cut: int, slots: int, seed: int) -> None:
    rollout = make_rollout(kind, 41, 2, 0.05, seed)
    whole, resumed = make_replay(kind, slots * 2, 2), make_replay(kind, slots * 2, 2)
    feed(whole, rollout, stop=cut)
    feed(resumed, make_rollout(kind, 5, 2, 0.5, seed + 1))  # what it held before must not shine through
    state = whole.state_dict()
    feed(whole, rollout, start=cut)
    resumed.load_state_dict(state)
    assert len(resumed) == 2 * min(cut, slots)
    feed(resumed, rollout, start=cut)
    for mode in MODES:
        if not whole.can_sample(2, 1):
            continue
        pair = [
            replay.sample(32, context=2, targets=1, mode=mode, generator=np.random.default_rng(seed))
            for replay in (whole, resumed)
        ]
        for left, right in zip(*pair, strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_state_of_another_size_is_refused_and_changes_nothing() -> None:
    replay = make_replay("translation", 20, 2)
    feed(replay, make_rollout("translation", 6, 2, 0.0, 0))
    others = [
        (SequenceReplay(24, (1, 2, 3), "translation", 2, 2), "10 slots .* the state has 12"),
        (SequenceReplay(20, (1, 2, 3), "rotation", 4, 2), "for translations, the state has 10 for rotations"),
        (SequenceReplay(20, (2, 2, 3), "translation", 2, 2), r"needs \(2, 3, 1, 2, 3\) uint8, the state has \(2, 3, 2"),
        (SequenceReplay(30, (1, 2, 3), "translation", 2, 3), r"needs \(2, 3, .*the state has \(3, 3"),
        (SequenceReplay(20, (1, 2, 3), "translation", 3, 2), r"poses: .* \(2, 3, 2\) float64, .* \(2, 3, 3\)"),
    ]
    for other, message in others:
        shape, width = other.state_dict()["glimpses"].shape, other.state_dict()["poses"].shape[-1]
        for _ in range(3):
            motion = identity(other.motion_kind, (shape[0], width))
            other.add(np.zeros((shape[0], *shape[2:]), np.uint8), motion, np.zeros(shape[0], bool))
        with pytest.raises(ValueError, match=message):
            replay.load_state_dict(other.state_dict())
    assert len(replay) == 12
    windows = replay.sample(4, context=5, targets=1, mode="adjacent", generator=np.random.default_rng(0))
    np.testing.assert_array_equal(windows.step[:, 0], 0)


def test_long_walks_do_not_drift() -> None:
    replay = SequenceReplay(4000, (1, 1, 1), "rotation", 4, 1)
    turn = Rotation.from_rotvec([0.0, 0.0, 2 * np.pi / 8]).as_quat().astype(np.float32)[None]
    for t in range(4000):
        replay.add(np.zeros((1, 1, 1, 1), np.uint8), turn, np.array([t == 0]))
    windows = replay.sample(256, context=1, targets=1, mode="hindsight", generator=np.random.default_rng(0))
    turns = np.diff(windows.step[:, :2], axis=1)[:, 0] % 8
    angle = 2 * np.arctan2(windows.motions[:, 0, 2], windows.motions[:, 0, 3])
    error = (angle - turns * 2 * np.pi / 8 + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(error).max() < 4000 * 1e-7  # the float32 motion itself is off by up to 1e-7 radians


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"glimpse": np.zeros((2, 1, 2, 3), np.float32)}, r"glimpse must be \(2, 1, 2, 3\) uint8, got .* float32"),
        ({"glimpse": np.zeros((2, 2, 1, 3), np.uint8)}, r"glimpse must be \(2, 1, 2, 3\) uint8, got \(2, 2, 1, 3\)"),
        ({"motion": np.zeros((2, 3))}, r"motion must be \(2, 4\), got \(2, 3\)"),
        ({"motion": np.full((2, 4), np.nan)}, "finite"),
        ({"motion": np.zeros((2, 4))}, "unit quaternion.*mark the row as first"),
        ({"first": np.zeros(2, np.int64)}, r"first must be \(2,\) bool, got \(2,\) int64"),
    ],
)
def test_bad_rows_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    replay = make_replay("rotation", 20, 2)
    row = {
        "glimpse": np.zeros((2, 1, 2, 3), np.uint8),
        "motion": identity("rotation", (2, 4)),
        "first": np.array([True, False]),
    }
    replay.add(**row)
    with pytest.raises(ValueError, match=message):
        replay.add(**(row | change))
    assert len(replay) == 2


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="capacity must be at least num_envs"):
        make_replay("translation", 3, 4)
    with pytest.raises(ValueError, match="glimpse_shape"):
        SequenceReplay(8, (4, 4, 0), "translation", 2, 1)
    with pytest.raises(ValueError, match="motion kind"):
        SequenceReplay(8, (4, 4, 1), "screw", 2, 1)  # pyright: ignore[reportArgumentType]
    replay = make_replay("translation", 20, 1)
    feed(replay, make_rollout("translation", 10, 1, 0.0, 0))
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="batch_size"):
        replay.sample(0, context=1, targets=1, mode="adjacent", generator=generator)
    with pytest.raises(ValueError, match="context"):
        replay.sample(1, context=(3, 2), targets=1, mode="adjacent", generator=generator)
    with pytest.raises(ValueError, match="targets"):
        replay.sample(1, context=1, targets=0, mode="adjacent", generator=generator)
    with pytest.raises(ValueError, match="mode"):
        replay.sample(1, context=1, targets=1, mode="random", generator=generator)  # pyright: ignore[reportArgumentType]


# -------------------------------------------------------------------------------------------------------------- labels


def labelled(labels: bool = True) -> SequenceReplay:
    """Episodes of 3 views in 2 sub-environments, of which the e-th of sub-environment b has label 10 b + e."""
    replay = SequenceReplay(24, (1, 1, 1), "translation", 2, 2, labels=labels)
    for t in range(15):
        episode = t // 3
        label = np.array([episode, 10 + episode]) if labels else None
        glimpse = np.full((2, 1, 1, 1), t, np.uint8)
        replay.add(glimpse, np.zeros((2, 2)), np.full(2, t % 3 == 0), label)
    return replay


def test_windows_carry_the_label_of_their_episode_and_go_on_after_restoring() -> None:
    replay, restored = labelled(), SequenceReplay(24, (1, 1, 1), "translation", 2, 2, labels=True)
    restored.load_state_dict(replay.state_dict())
    found = []
    for source in (replay, restored):
        windows = source.sample(200, context=1, targets=2, mode="hindsight", generator=np.random.default_rng(0))
        assert windows.label is not None
        np.testing.assert_array_equal(windows.label, 10 * windows.env + windows.episode)
        found.append(windows.label)
    np.testing.assert_array_equal(*found)
    assert len(set(found[0])) == 8


def test_labels_are_kept_only_if_asked_for() -> None:
    plain = labelled(labels=False)
    assert "labels" not in plain.state_dict()
    generator = np.random.default_rng(0)
    assert plain.sample(5, context=1, targets=1, mode="adjacent", generator=generator).label is None
    row = (np.zeros((2, 1, 1, 1), np.uint8), np.zeros((2, 2)), np.zeros(2, bool))
    with pytest.raises(ValueError, match="labels=True, else none"):
        plain.add(*row, np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="labels=True, else none"):
        labelled().add(*row)
    with pytest.raises(ValueError, match=r"label must be \(2,\) int"):
        labelled().add(*row, np.zeros(2))
    for replay, state in ((plain, labelled().state_dict()), (labelled(), plain.state_dict())):
        with pytest.raises(ValueError, match="both the replay and the state"):
            replay.load_state_dict(state)
