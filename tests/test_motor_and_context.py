"""What agents know of their body and of their episode: motors and contexts."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from glimpseworld.agents.context import Context
from glimpseworld.agents.motor import Motor
from glimpseworld.envs.object_rotation import ObjectRotationWorld
from glimpseworld.envs.rotations import rotation_towards
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig
from glimpseworld.world_model.views import normalize_views


def small_model(motion_dim, kind=None):
    torch.manual_seed(0)
    sizes = {"size": 16, "z_dim": 32, "motion_embedding": 8, "predictor_hidden": 32}
    return SeqJEPA(SeqJEPAConfig(motion_dim=motion_dim, motion_kind=kind, **sizes)).eval()


def test_a_motor_commands_what_the_world_of_rotations_does():
    world = ObjectRotationWorld(members_per_family=1, size=16, max_angle=0.7)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    motor = Motor("rotation", (0.7,))
    np.testing.assert_allclose(motor.motions(torch.from_numpy(actions)).numpy(), world.commanded(actions), atol=1e-6)


def test_actions_lead_along_the_straight_way_as_far_as_one_can():
    rng = np.random.default_rng(1)
    start, goal = Rotation.random(30, random_state=rng).as_quat(), Rotation.random(30, random_state=rng).as_quat()
    motions = (Rotation.from_quat(start).inv() * Rotation.from_quat(goal)).as_quat()
    found = Motor("rotation", (np.pi / 4,)).actions(torch.from_numpy(motions))
    np.testing.assert_allclose(found.numpy(), rotation_towards(start, goal, np.pi / 4), atol=1e-6)
    shift = torch.tensor([[0.5, -0.25], [4.0, -1.0]])
    assert Motor("translation", (1.0, 0.5)).actions(shift).tolist() == [[0.5, -0.5], [1.0, -0.5]]


def test_drawn_actions_fill_the_space_and_follow_the_seed():
    motor = Motor("translation", (0.5, 0.5))
    drawn = motor.draw(1000, torch.Generator().manual_seed(3))
    assert drawn.shape == (1000, 2) and drawn.min() < -0.95 and drawn.max() > 0.95 and drawn.abs().max() <= 1
    assert torch.equal(drawn, motor.draw(1000, torch.Generator().manual_seed(3)))


@pytest.mark.parametrize(
    ("kind", "unit", "message"),
    [
        ("rotation-colour", (1.0,), "no action commands a colour"),
        ("rotation", (1.0, 1.0, 1.0), "one number above 0"),
        ("translation", (1.0, 0.0), "one number above 0"),
    ],
)
def test_a_motor_that_cannot_be_is_refused(kind, unit, message):
    with pytest.raises(ValueError, match=message):
        Motor(kind, unit)


def test_a_context_embeds_what_was_seen_and_dead_reckons_from_where():
    model, rng = small_model(4, "rotation"), np.random.default_rng(2)
    context = Context(model, "rotation", 2, capacity=8)
    views = rng.integers(0, 256, (4, 2, 16, 16, 3), dtype=np.uint8)
    turns = [Rotation.random(2, random_state=n) for n in range(4)]
    for n, (view, turn) in enumerate(zip(views, turns, strict=True)):
        motion = turn.as_quat() * np.sign(turn.as_quat()[:, 3:])
        context.observe(view, motion.astype(np.float32), np.array([n == 0, n in (0, 2)]))
    assert context.held.tolist() == [4, 2]
    z = model.encode(normalize_views(views.swapaxes(0, 1)))
    torch.testing.assert_close(context.z[0, :4], z[0])
    torch.testing.assert_close(context.z[1, :2], z[1, 2:])
    torch.testing.assert_close(
        context.target[0, 3], model.as_target(model.encode_target(normalize_views(views[3:])))[0, 0]
    )
    expected = (turns[1] * turns[2] * turns[3]).as_quat()[0]
    np.testing.assert_allclose(context.here()[0].numpy(), expected * np.sign(expected[3]), atol=1e-5)
    assert [(rows.tolist(), count) for rows, count in context.groups(3)] == [([1], 2), ([0], 3)]
    recent, motions = context.recent(torch.tensor([0]), 3)
    torch.testing.assert_close(recent, context.z[:1, 1:4])
    for n in (0, 1):
        np.testing.assert_allclose(np.abs(motions[0, n].numpy() @ turns[n + 2].as_quat()[0]), 1, atol=1e-5)


def test_a_full_context_drops_the_oldest_view():
    model = small_model(2)
    context = Context(model, "translation", 1, capacity=3)
    for n in range(5):
        glimpse = np.full((1, 16, 16, 3), n, dtype=np.uint8)
        context.observe(glimpse, np.full((1, 2), 0.1, dtype=np.float32), np.array([n == 0]))
    assert context.held.tolist() == [3]
    np.testing.assert_allclose(context.pose[0, :, 0].numpy(), [0.2, 0.3, 0.4], atol=1e-6)


def test_state_restores_a_context():
    model = small_model(2)
    one, other = (Context(model, "translation", 2, capacity=4) for _ in range(2))
    for n in range(3):
        one.observe(
            np.full((2, 16, 16, 3), 40 * n, np.uint8), np.full((2, 2), 0.2, np.float32), np.array([n == 0, n != 1])
        )
    other.set_state(one.state())
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("held", "z", "target", "pose"))


def test_what_does_not_fit_the_model_is_refused():
    with pytest.raises(ValueError, match="environment are 'translation', and the world model's 'rotation': take"):
        Context(small_model(4, "rotation"), "translation", 2)
    context = Context(small_model(2), "translation", 2)
    given = {"glimpse": np.zeros((2, 16, 16, 3), np.uint8), "motion": np.zeros((2, 2), np.float32)}
    for change, message in (
        (
            {"motion": np.zeros((2, 4), np.float32)},
            "motions of the environment are of 4 numbers, and the world model's of 2",
        ),
        ({"glimpse": np.zeros((2, 24, 24, 3), np.uint8)}, r"views must be \(B, T, 3, 16, 16\), got"),
        ({"glimpse": given["glimpse"][:1]}, "a glimpse of each of 2"),
        ({"motion": given["motion"][:1]}, "a motion of each of 2"),
        ({"motion": given["motion"][0]}, "a motion of each of 2"),
    ):
        with pytest.raises(ValueError, match=message):
            context.observe(**given | change, first=np.ones(2, bool))
    assert not context.held.any()
    with pytest.raises(ValueError, match="have seen 2 views yet"):
        context.recent(torch.tensor([0]), 2)
