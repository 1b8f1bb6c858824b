"""A planning agent sees its goal, goes there, and goes on exactly from a saved state."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from toy_models import TrueModel, spelt_out

from glimpseworld.agents.motor import Motor
from glimpseworld.agents.plan_objectives import MotionCost, ReachEmbedding
from glimpseworld.agents.planner import Planner, PlannerConfig
from glimpseworld.agents.planning_agent import PlannerAgent
from glimpseworld.agents.rollout import Rollout
from glimpseworld.envs.tasks.matching import ObjectReorientVectorEnv
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

EYE = Motor("translation", (0.3, 0.3))
SEARCHES = [PlannerConfig("cem", candidates=128, horizon=2), PlannerConfig("jump", candidates=256)]


class Gaze:
    """Moves as told, over poses in [-1, 1]; episodes of three rows begin and end at different steps."""

    def __init__(self, count=3, length=6):
        self.rng, self.length = np.random.default_rng(5), length
        self.position, self.goal = self.rng.uniform(-0.9, 0.9, (2, count, 2))
        self.steps = np.zeros(count, int)
        self.motion = np.zeros((count, 2), np.float32)

    def seen(self):
        observation = {"glimpse": spelt_out(self.position), "motion": self.motion, "goal": spelt_out(self.goal)}
        return observation, {"step_index": self.steps.copy()}

    def step(self, actions):
        before = self.position
        self.position = np.clip(before + 0.3 * actions, -1, 1)
        self.motion = (self.position - before).astype(np.float32)
        self.steps += 1
        over = self.steps > self.length + np.arange(len(self.steps))
        self.position[over], self.goal[over] = self.rng.uniform(-0.9, 0.9, (2, int(over.sum()), 2))
        self.steps[over] = 0


def make_agent(config, objective=None, goal="goal", seed=0, count=3):
    planner = Planner(TrueModel(), EYE, objective or ReachEmbedding(), config)
    return PlannerAgent(planner, count, torch.Generator().manual_seed(seed), goal=goal)


@pytest.mark.parametrize("config", SEARCHES, ids=lambda c: c.method)
def test_it_is_at_its_goal_before_the_episode_ends_in_every_episode(config):
    agent, gaze, ends = make_agent(config), Gaze(length=9), []
    for _ in range(40):
        gaze.step(agent.act(*gaze.seen()))
        last = gaze.steps == gaze.length + np.arange(3)
        ends += np.linalg.norm(gaze.position - gaze.goal, axis=1)[last].tolist()
    assert len(ends) >= 9 and max(ends) < 0.06


@pytest.mark.parametrize("config", SEARCHES, ids=lambda c: c.method)
def test_a_restored_agent_acts_on_as_if_nothing_had_happened(config):
    agent, gaze = make_agent(config), Gaze()
    for _ in range(9):
        gaze.step(agent.act(*gaze.seen()))
    kept = {name: array.copy() for name, array in agent.state().items()}
    draws = agent.generator.get_state()
    assert not any("generator" in name for name in kept)  # as of all agents, its owner keeps it
    scenes, expected = [], []
    for _ in range(6):
        scenes.append(gaze.seen())
        expected.append(agent.act(*scenes[-1]))
        gaze.step(expected[-1])
    other = make_agent(config, seed=77)
    other.set_state(kept)
    other.generator.set_state(draws)
    for scene, actions in zip(scenes, expected, strict=True):
        np.testing.assert_array_equal(other.act(*scene), actions)
    assert expected[0].dtype == np.float64 and np.abs(expected).max() <= 1


def test_a_goal_holds_for_its_episode():
    """Entries that change within an episode, as those of another goal would, are not looked at."""
    agent = make_agent(SEARCHES[1], count=1)
    seen = {"glimpse": spelt_out([[0.0, 0.0]]), "motion": np.zeros((1, 2), np.float32)}
    begun = agent.act({**seen, "goal": spelt_out([[0.2, 0.0]])}, {"step_index": np.array([0])})
    still = agent.act({**seen, "goal": spelt_out([[-0.2, 0.0]])}, {"step_index": np.array([1])})
    fresh = agent.act({**seen, "goal": spelt_out([[-0.2, 0.0]])}, {"step_index": np.array([0])})
    assert begun[0, 0] > 0.5 and still[0, 0] > 0.5 and fresh[0, 0] < -0.5


def test_without_a_goal_it_does_what_its_objective_wants():
    agent = make_agent(SEARCHES[1], objective=MotionCost("translation"), goal=None)
    assert np.abs(agent.act(*Gaze().seen())).max() == 0


def test_what_shows_no_goal_is_refused():
    class Constant:
        def score(self, futures):
            return futures.predictions.sum(dim=(2, 3))

    with pytest.raises(ValueError, match="Constant takes no goals"):
        make_agent(SEARCHES[0], objective=Constant())
    with pytest.raises(ValueError, match=r"a goal view 'cue' beside \['glimpse', 'goal', 'motion'\]"):
        make_agent(SEARCHES[0], goal="cue").act(*Gaze().seen())


def test_it_turns_an_object_to_its_goal():
    model, motor = TrueModel("rotation"), Motor("rotation", (np.pi / 4,))
    planner = Planner(model, motor, ReachEmbedding(), PlannerConfig("jump", candidates=512, horizon=4))
    agent = PlannerAgent(planner, 4, torch.Generator().manual_seed(0))
    now, goal = Rotation.random(4, random_state=0), Rotation.random(4, random_state=1)
    motion = np.tile(np.float32([0, 0, 0, 1]), (4, 1))
    for step in range(6):
        observation = {"glimpse": spelt_out(now.as_quat()), "goal": spelt_out(goal.as_quat()), "motion": motion}
        turn = Rotation.from_rotvec(agent.act(observation, {"step_index": np.full(4, step)}) * np.pi / 4)
        now, motion = now * turn, turn.as_quat().astype(np.float32)
    assert np.degrees((now.inv() * goal).magnitude()).max() < 6


def test_it_acts_in_an_environment_and_resumes_there():
    torch.manual_seed(0)
    sizes = {"size": 16, "z_dim": 32, "motion_embedding": 8, "predictor_hidden": 32}
    model = SeqJEPA(SeqJEPAConfig(motion_kind="rotation", **sizes)).eval()

    def begin():
        planner = Planner(model, Motor("rotation", (np.pi / 4,)), ReachEmbedding(), SEARCHES[0])
        envs = ObjectReorientVectorEnv(num_envs=2, max_episode_steps=3, members_per_family=1, size=16)
        draws = torch.Generator().manual_seed(0)
        return Rollout(envs, PlannerAgent(planner, 2, draws), seed=0), draws

    (one, draws), (other, other_draws) = begin(), begin()
    for _ in range(3):
        one.step()
    kept = one.state()
    other_draws.set_state(draws.get_state())
    expected = [one.step() for _ in range(4)]
    other.set_state(kept)
    for step in expected:
        again = other.step()
        np.testing.assert_array_equal(again.glimpse, step.glimpse)
        np.testing.assert_array_equal(again.motion, step.motion)
    assert any(step.first.any() for step in expected)
