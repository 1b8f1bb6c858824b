"""Classifying agents read the class off what they saw, and look where the model expects it to show."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_motor_and_context import small_model
from toy_models import ToyModel

import glimpseworld.envs  # noqa: F401 - registers the ids
from glimpseworld.agents.class_reader import ClassReader, ClassReaders, entropy, fit_class_reader
from glimpseworld.agents.classifier import ClassifierAgent, ClassifierConfig
from glimpseworld.agents.motor import Motor
from glimpseworld.envs.object_rotation import ObjectRotationWorld
from glimpseworld.experiments.control.class_readers import fit_class_readers, read_targets
from glimpseworld.experiments.view_sets import make_view_set

MOTOR = Motor("translation", (1.0, 1.0))
PLAIN = ClassReader(4.0 * torch.eye(3)[:2], torch.zeros(2))
"""Two classes, by which of the first two of three numbers is the greater; the third tells nothing."""
READERS = ClassReaders(PLAIN, PLAIN, PLAIN)


def right_tells(z, motions, ahead):
    """Predicts that the class (that of the last view) shows the more, the further to the right."""
    shown = torch.where(z[:, -1:, :1] > z[:, -1:, 1:2], torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    share = (ahead[..., :1] + 1) / 2
    return torch.cat([share * shown, 1 - share], dim=-1)


def glimpses(*views):
    glimpse = np.zeros((len(views), 4, 4, 1), np.uint8)
    glimpse[:, 0, :3, 0] = views
    return glimpse


def act(agent, views, index=0, motion=(0.0, 0.0)):
    count = len(views)
    observation = {"glimpse": glimpses(*views), "motion": np.tile(np.float32(motion), (count, 1))}
    return agent.act(observation, {"step_index": np.full(count, index)})


def agent_with(model=None, count=2, seed=0, **settings):
    keywords = {key: settings.pop(key) for key in ("can_stop", "logit_scale", "readers") if key in settings}
    readers = keywords.pop("readers", READERS)
    model = model or ToyModel(3, right_tells).eval()
    config = ClassifierConfig(**({"evidence": "sum", "difference": 0.0} | settings))
    return ClassifierAgent(model, MOTOR, readers, count, np.random.default_rng(seed), config=config, **keywords)


@pytest.mark.parametrize("gaze", ["confidence", "information"])
def test_it_looks_where_the_class_will_show(gaze):
    actions = act(agent_with(**{gaze: 1.0}), [(9, 3, 0), (3, 9, 0)])
    assert actions.shape == (2, 4) and (actions[:, 0] > 0.8).all()
    assert act(agent_with(count=50), [(9, 3, 0)] * 50)[:, 0].min() < -0.5


def test_disagreement_about_the_class_draws_the_gaze():
    def torn(z, motions, ahead):
        """With more than one view the class at the left end turns into the other one."""
        turned = (z.shape[1] > 1) * (-ahead[..., :1]).clamp(min=0)
        return torch.cat([1 - turned, turned, torch.zeros_like(turned)], dim=-1)

    agent = agent_with(ToyModel(3, torn).eval(), disagreement=1.0)
    act(agent, [(9, 3, 0), (3, 9, 0)])
    assert (act(agent, [(9, 3, 0), (3, 9, 0)], 1)[:, 0] < -0.8).all()


def test_difference_looks_for_what_is_unlike_all_that_was_seen():
    """The prediction turns from the class seen at the right end to the third number, not seen yet, at the left."""
    assert (act(agent_with(difference=1.0), [(9, 0, 0), (0, 9, 0)])[:, 0] < -0.8).all()


def test_coverage_keeps_away_from_what_was_seen():
    """From (1, 0), having begun at the origin, radius 1.5: to the left everything is near one of the two."""
    agent = agent_with(coverage=1.0, radius=1.5, count=1)
    act(agent, [(9, 3, 0)])
    move = act(agent, [(9, 3, 0)], 1, (1.0, 0.0))[0, :2]
    there = move + np.array([1.0, 0.0])
    assert min(np.linalg.norm(there), np.linalg.norm(move)) > 1.2


def test_coverage_is_weighed_against_information():
    """The class shows to the right, where it was before: from the origin, having been at (1, 0)."""
    for weight, near in ((0.0, True), (20.0, False)):
        agent = agent_with(information=1.0, coverage=weight, radius=1.0, count=1, candidates=256)
        act(agent, [(9, 3, 0)])
        act(agent, [(9, 3, 0)], 1, (1.0, 0.0))
        move = act(agent, [(9, 3, 0)], 2, (-1.0, 0.0))[0]
        from_seen = min(np.hypot(*move[:2]), np.hypot(move[0] - 1, move[1]))
        assert move[0] > 0.9 if near else from_seen > 0.95


def test_evidence_adds_up_over_views_and_ends_with_the_episode():
    """Unit views (0.6, 0.8) and (1, 0): log-odds of class 0 are 4 times -0.2 and 4 times 1."""
    agent = agent_with(count=1)
    assert act(agent, [(6, 8, 0)])[0, 2:] == pytest.approx([1 - 0.8 / 5, 1.0])
    act(agent, [(9, 0, 0)], 1)
    odds = agent.present()[0]
    assert (odds[0] - odds[1]).item() == pytest.approx(4.0 - 0.8, abs=1e-5)
    act(agent, [(9, 0, 0)], 0)
    odds = agent.present()[0]
    assert (odds[0] - odds[1]).item() == pytest.approx(4.0, abs=1e-5)


def test_means_and_aggregates_are_read_by_their_own_readers():
    """The toy model's aggregate is the mean of the last `longest` z."""
    readers = ClassReaders(PLAIN, ClassReader(torch.eye(3)[:2], torch.zeros(2)), PLAIN)
    views = [(6, 2, 0), (0, 2, 0), (0, 5, 0)]
    for evidence, odds in (("mean", 2 - 3), ("aggregate", 4 * (0 - 3.5))):
        agent = agent_with(evidence=evidence, count=1, longest=2, readers=readers)
        for index, view in enumerate(views):
            act(agent, [view], index)
        logs = agent.present()[0]
        assert (logs[0] - logs[1]).item() == pytest.approx(odds, abs=1e-4)


def test_it_stops_when_sure():
    agent = agent_with(count=2, can_stop=True, stop=0.95)
    actions = act(agent, [(9, 0, 0), (9, 9, 0)])
    assert actions.shape == (2, 5) and actions[:, -1].tolist() == [1, -1]


def test_rows_go_their_own_ways_and_equal_seeds_act_alike():
    def own(z, motions, ahead):
        return right_tells(z, motions, ahead * torch.where(z[:, -1:, :1] > z[:, -1:, 1:2], 1.0, -1.0))

    acted = [
        act(agent_with(ToyModel(3, own).eval(), count=3, information=1.0), views)
        for views in (
            [(9, 3, 0), (3, 9, 0), (9, 3, 0)],
            [(9, 3, 0), (3, 9, 0), (9, 3, 0)],
            [(3, 9, 0), (9, 3, 0), (9, 3, 0)],
        )
    ]
    np.testing.assert_array_equal(acted[0], acted[1])
    assert (acted[0][:, 0] > 0).tolist() == [True, False, True]
    np.testing.assert_array_equal(acted[0][2], acted[2][2])


def test_a_restored_agent_goes_on_as_it_would_have():
    one, other = (agent_with(coverage=0.5, information=1.0, disagreement=1.0) for _ in range(2))
    for index in range(3):
        act(one, [(9, 3, 0), (3, 9, 0)], index, (0.1 * index, 0.2))
    other.set_state(one.state())
    other._rng.bit_generator.state = one._rng.bit_generator.state
    views = [(5, 4, 1), (1, 2, 3)]
    np.testing.assert_array_equal(act(one, views, 3), act(other, views, 3))


def test_calibration_finds_the_temperature_that_logits_were_scaled_by():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 3, generator=generator)
    labels = torch.multinomial((PLAIN.logs(x) / 3).softmax(dim=-1), 1, generator=generator)[:, 0]
    assert PLAIN.calibrated(x, labels).temperature == pytest.approx(3.0, rel=0.12)
    logs = ClassReader(PLAIN.weight, PLAIN.bias, temperature=2.0).logs(torch.tensor([1.0, 0.0, 5.0]))
    assert (logs[0] - logs[1]).item() == pytest.approx(2.0)
    assert entropy(torch.full((4,), 0.25).log()).item() == pytest.approx(math.log(4))


def test_a_reader_learns_classes_of_features_on_any_scale():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    x = np.array([100.0, -5.0, 0.01]) + rng.normal(0, 0.2, (300, 3)) * [10, 1, 0.001]
    x[np.arange(300), labels] += np.array([10, 1, 0.001])[labels]
    reader = fit_class_reader(torch.from_numpy(x).float(), labels, 3)
    assert (reader.logs(torch.from_numpy(x)).argmax(dim=1).numpy() == labels).mean() > 0.95


def test_readers_fit_a_world_and_the_agent_plays_its_task():
    world = ObjectRotationWorld(members_per_family=1, size=16)
    model, rng = small_model(4, "rotation"), np.random.default_rng(0)
    sets = [make_view_set(world, np.arange(12), 3, rng) for _ in range(2)]
    readers = fit_class_readers(model, *sets)
    classes = len(world.class_names)
    assert [reader.num_classes for reader in readers] == [classes] * 3
    assert [reader.weight.shape[1] for reader in readers] == [32, 32, model.config.token_dim]
    raw = torch.randn(5, 32)
    torch.testing.assert_close(read_targets(model, raw).norm(dim=-1), torch.ones(5))
    kwargs = {"members_per_family": 1, "size": 16, "stop": True}
    envs = gym.make_vec("GlimpseWorld/ObjectClassify-v0", 2, vectorization_mode="vector_entry_point", **kwargs)
    motor = Motor("rotation", (math.pi / 4,))
    agent = ClassifierAgent(model, motor, readers, 2, np.random.default_rng(0), can_stop=True)
    observation, info = envs.reset(seed=0)
    for _ in range(3):
        actions = agent.act(observation, info)
        assert actions.shape == envs.action_space.shape and np.abs(actions).max() <= 1
        observation, _, _, _, info = envs.step(actions)
    with pytest.raises(ValueError, match="contexts of 4 views need as many"):
        fit_class_readers(model, *sets, longest=4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassifierConfig(evidence="all"), "evidence must be one of"),  # pyright: ignore[reportArgumentType]
        (lambda: ClassifierConfig(radius=0.0), "radius above 0"),
        (lambda: ClassReader(torch.zeros(2, 3), torch.zeros(3)), r"\(C, D\) and its bias \(C,\)"),
        (lambda: ClassReader(torch.zeros(2, 3), torch.zeros(2), temperature=0), "temperature must be above 0"),
        (lambda: PLAIN.logs(torch.zeros(4, 2)), "reads 3 numbers, got embeddings"),
    ],
)
def test_what_cannot_classify_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_model_without_predictions_may_look_at_random_or_for_coverage():
    model = ToyModel(3, right_tells)
    model.predicts = False
    agent_with(model, coverage=1.0)
    with pytest.raises(ValueError, match="predicts nothing"):
        agent_with(model, information=1.0)
