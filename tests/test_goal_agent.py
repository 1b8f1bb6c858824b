"""Going to a goal view by inverse model, similarity and belief, in worlds whose embeddings are known functions."""

import numpy as np
import pytest
import torch
from toy_models import TrueModel, spelt_out

from glimpseworld.agents.belief import BeliefSettings, GoalBelief, rotation_hypotheses, translation_hypotheses
from glimpseworld.agents.context import Context
from glimpseworld.agents.goal_agent import GoalAgent, GoalSettings, RandomReturnAgent
from glimpseworld.agents.goals import Goals
from glimpseworld.agents.inverse import InverseAgent, InverseConfig, InverseModel, fit_inverse
from glimpseworld.agents.motor import Motor
from glimpseworld.agents.similarity import (
    SimilarityCurve,
    calibrate_stop,
    fit_similarity,
    pairwise_distance,
)
from glimpseworld.world_model.motion_tensors import compose, identity_like, relative, rotation_from_vector

MOTORS = {"translation": Motor("translation", (0.5, 0.5)), "rotation": Motor("rotation", (np.pi / 4,))}
TOLERANCE = {"translation": 0.1, "rotation": np.radians(15)}
PREDICTOR = BeliefSettings(prediction=30.0, postdiction=0.0, inverse=0.0, similarity=0.0)
SIMILARITY = BeliefSettings(prediction=0.0, postdiction=0.0, inverse=0.0, similarity=1.0)


def known(kind):
    return TrueModel(kind, scale=2.0)


def random_poses(kind, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if kind == "translation":
        return 1.4 * torch.rand(*shape, 2, generator=generator) - 0.7
    drawn = torch.randn(*shape, 4, generator=generator)
    drawn = drawn / drawn.norm(dim=-1, keepdim=True)
    return torch.where(drawn[..., 3:] < 0, -drawn, drawn)


def goals_from(kind, starts, seed=1):
    """Return poses some way off: 0.5 image units, or 70 degrees."""
    drawn = torch.randn(len(starts), 3 if kind == "rotation" else 2, generator=torch.Generator().manual_seed(seed))
    away = drawn / drawn.norm(dim=-1, keepdim=True)
    motions = rotation_from_vector(away * np.radians(70)) if kind == "rotation" else 0.5 * away
    return compose(kind, starts, motions)


class Walk:
    """Rows of a world of which a view spells out the pose, with a goal each."""

    def __init__(self, kind, starts, goals):
        self.kind, self.pose, self.goals, self.steps = kind, starts.clone(), goals, 0
        self.motion = identity_like(kind, starts)

    def observation(self):
        views = {"glimpse": spelt_out(self.pose), "goal": spelt_out(self.goals)}
        return views | {"motion": self.motion.numpy()}, {"step_index": np.full(len(self.pose), self.steps)}

    def act(self, agent):
        actions = agent.act(*self.observation())
        assert actions.shape[0] == len(self.pose) and actions.dtype == np.float64 and np.abs(actions).max() <= 1
        self.motion = MOTORS[self.kind].motions(torch.from_numpy(actions).float())
        self.pose, self.steps = compose(self.kind, self.pose, self.motion), self.steps + 1
        return actions

    def distance(self):
        return torch.stack(
            [pairwise_distance(self.kind, a[None], b[None])[0, 0] for a, b in zip(self.pose, self.goals, strict=True)]
        )


def hypotheses(kind):
    if kind == "rotation":
        return rotation_hypotheses(2000, reach=np.radians(90))
    return translation_hypotheses(0.06, reach=0.6)


def known_curve(kind):
    poses = random_poses(kind, 20, 24, seed=9)
    return fit_similarity(kind, known(kind).as_target(poses), poses, bins=24)


def goal_agent(kind, count, settings=PREDICTOR, *, steps=6, model=None, **options):
    model = model or known(kind)
    sources = {"hypotheses": hypotheses(kind), "tolerance": TOLERANCE[kind], "steps": steps}
    return GoalAgent(
        model, MOTORS[kind], count, **sources, settings=GoalSettings(settings, **options), curve=known_curve(kind)
    )


def believing(kind, poses, goals, settings):
    """Return a belief after the views of `poses` (T, A) of one row, and the goal seen from the first."""
    model = known(kind)
    context, seen = Context(model, kind, 1), Goals(model, 1)
    belief = GoalBelief(context, hypotheses(kind), TOLERANCE[kind], settings, curve=known_curve(kind))
    for n, pose in enumerate(poses):
        motion = relative(kind, poses[max(n - 1, 0)], pose)
        glimpse, first = spelt_out(pose[None]), np.array([n == 0])
        seen.observe({"glimpse": glimpse, "goal": spelt_out(goals)}, first)
        context.observe(glimpse, motion[None].numpy(), first)
        belief.update(seen, first)
    return belief, relative(kind, poses[:1], goals)


def test_rotations_are_spread_evenly_within_reach():
    found = rotation_hypotheses(1000, reach=np.radians(120))
    assert abs(len(found) - 1000) < 20
    away = pairwise_distance("rotation", found[:1] * 0 + torch.tensor([0.0, 0, 0, 1]), found)[0]
    assert away.max() <= np.radians(120) + 1e-5
    # The share of rotations within an angle a is (a - sin a) / pi.
    share = (np.radians(60) - np.sin(np.radians(60))) / (np.radians(120) - np.sin(np.radians(120)))
    assert abs((away < np.radians(60)).float().mean().item() - share) < 0.02
    anywhere = random_poses("rotation", 500)
    inside = pairwise_distance("rotation", torch.tensor([[0.0, 0, 0, 1]]), anywhere)[0] < np.radians(110)
    assert np.degrees(pairwise_distance("rotation", anywhere[inside], found).amin(dim=1).max()) < 22


def test_displacements_are_a_grid_within_reach_that_leaves_the_zoom():
    assert sorted(translation_hypotheses(0.5, reach=0.6, motion_size=3).tolist()) == sorted(
        [[0, 0, 0], [0.5, 0, 0], [-0.5, 0, 0], [0, 0.5, 0], [0, -0.5, 0]]
    )
    with pytest.raises(ValueError, match="0 < spacing <= reach"):
        translation_hypotheses(0.5, reach=0.4)
    with pytest.raises(ValueError, match=r"reach in \(0, pi\]"):
        rotation_hypotheses(10, reach=4.0)


@pytest.mark.parametrize("kind", ["translation", "rotation"])
def test_predictions_put_the_peak_at_the_goal_after_one_view(kind):
    starts = random_poses(kind, 5)
    for start, goal in zip(starts, goals_from(kind, starts), strict=True):
        belief, true = believing(kind, start[None], goal[None], PREDICTOR)
        pose, mass = belief.peak(torch.ones(1, len(belief.hypotheses), dtype=torch.bool))
        assert pairwise_distance(kind, pose, true) < 0.4 * TOLERANCE[kind]
        torch.testing.assert_close(belief.mass(pose[:, None])[:, 0], mass)
        torch.testing.assert_close(belief.probability.sum(dim=1), torch.ones(1))


@pytest.mark.parametrize("kind", ["translation", "rotation"])
def test_what_is_predicted_from_the_goal_for_what_was_seen_is_as_good(kind):
    start = random_poses(kind, 1)
    goal = goals_from(kind, start)
    ahead, _ = believing(kind, start, goal, PREDICTOR)
    settings = BeliefSettings(prediction=0.0, postdiction=30.0, inverse=0.0, similarity=0.0)
    back, true = believing(kind, start, goal, settings)
    assert (
        pairwise_distance(kind, back.peak(torch.ones(1, len(back.hypotheses), dtype=torch.bool))[0], true)
        < 0.4 * TOLERANCE[kind]
    )
    torch.testing.assert_close(ahead.score, back.score, atol=1e-2, rtol=0)


@pytest.mark.parametrize("kind", ["translation", "rotation"])
def test_similarity_alone_narrows_the_belief_with_every_view(kind):
    starts = random_poses(kind, 4, seed=3)
    first, last = [], []
    for start, goal in zip(starts, goals_from(kind, starts), strict=True):
        around = random_poses(kind, 7, seed=5)
        around = around if kind == "rotation" else around * 0.7
        poses = torch.cat([start[None], compose(kind, start.expand(7, -1), around)])
        for count, masses in ((1, first), (8, last)):
            belief, true = believing(kind, poses[:count], goal[None], SIMILARITY)
            masses.append(belief.mass(true[:, None]).item())
    assert np.mean(last) > 4 * np.mean(first) and min(last) > 0.1


@pytest.mark.parametrize("kind", ["translation", "rotation"])
def test_little_similarity_inhibits_the_neighbourhood(kind):
    start = random_poses(kind, 1)
    belief, _ = believing(kind, start, goals_from(kind, start), SIMILARITY)
    near = pairwise_distance(kind, identity_like(kind, start), belief.hypotheses)[0] < TOLERANCE[kind]
    assert belief.probability[0, near].max() < 0.1 * belief.probability.mean()


@pytest.mark.parametrize("kind", ["translation", "rotation"])
@pytest.mark.parametrize(("settings", "within"), [(PREDICTOR, 0.5), (SIMILARITY, 1.5)])
def test_the_agent_ends_at_the_goal(kind, settings, within):
    starts = random_poses(kind, 8, seed=2)
    walk = Walk(kind, starts, goals_from(kind, starts))
    agent = goal_agent(kind, 8, settings, steps=10)
    for _ in range(10):
        walk.act(agent)
    assert (walk.distance() < within * TOLERANCE[kind]).float().mean() >= 0.85
    assert bool(agent.context.model.calls) == bool(settings.prediction)


@pytest.mark.parametrize("kind", ["translation", "rotation"])
def test_rows_are_independent_and_state_restores(kind):
    starts = random_poses(kind, 4)
    goals = goals_from(kind, starts)
    both = BeliefSettings(prediction=5.0, postdiction=5.0, inverse=0.0, similarity=0.5)
    together, alone = Walk(kind, starts, goals), Walk(kind, starts[2:3], goals[2:3])
    company, single, resumed = (goal_agent(kind, n, both) for n in (4, 1, 1))
    for step in range(4):
        if step == 2:
            resumed.set_state(single.state())
        again = Walk(kind, alone.pose, alone.goals)
        again.motion, again.steps = alone.motion, alone.steps
        actions = alone.act(single)
        np.testing.assert_allclose(together.act(company)[2:3], actions, atol=1e-3)
        if step >= 2:
            np.testing.assert_array_equal(again.act(resumed), actions)


def test_a_new_episode_starts_a_new_belief():
    start = random_poses("translation", 2)
    walk = Walk("translation", start, goals_from("translation", start))
    agent, fresh = goal_agent("translation", 2), goal_agent("translation", 2)
    walk.act(agent)
    observation, _ = walk.observation()
    agent.act(observation, {"step_index": np.array([1, 0])})
    fresh.act(observation, {"step_index": np.array([0, 0])})
    torch.testing.assert_close(agent.belief.score[1], fresh.belief.score[1])
    assert not torch.allclose(agent.belief.score[0], fresh.belief.score[0])


def test_exploring_looks_from_elsewhere_before_it_settles():
    starts = random_poses("translation", 6)
    goals = goals_from("translation", starts)
    visited = {}
    for explore in (0.0, 3.0):
        walk, agent = Walk("translation", starts, goals), goal_agent("translation", 6, explore=explore, settle=2)
        for _ in range(6):
            walk.act(agent)
        assert walk.distance().max() < TOLERANCE["translation"]
        poses = agent.context.pose[:, 1:6]
        visited[explore] = torch.stack([pairwise_distance("translation", p, p).mean() for p in poses]).mean()
    assert visited[3.0] > 4 * visited[0.0]


def test_it_stays_where_it_recognises_the_goal():
    starts = random_poses("translation", 2)
    goals = torch.stack([starts[0], starts[1] + 0.4])
    actions = Walk("translation", starts, goals).act(goal_agent("translation", 2, explore=2.0, stop=0.98))
    assert not actions[0].any() and actions[1].any()


class WrongModel(TrueModel):
    """Predicts that the goal is where it is not: what lies at a motion, it expects at the opposite one."""

    def predict_from(self, z, motions, ahead):
        return super().predict_from(z, motions, -ahead)


@pytest.mark.parametrize(("recognise", "ends_there"), [(0.98, True), (None, False)])
def test_it_returns_to_the_goal_that_it_has_seen_whatever_it_believes(recognise, ends_there):
    # It begins at the goal, sees it, and is led away by a first motion that nobody commanded.
    start = torch.zeros(1, 2)
    walk = Walk("translation", start, start)
    agent = goal_agent(
        "translation", 1, steps=4, model=WrongModel("translation", scale=2.0), recognise=recognise, explore=0.0
    )
    walk.act(agent)
    walk.pose, walk.motion = start + 0.3, torch.full((1, 2), 0.3)
    for _ in range(3):
        walk.act(agent)
    assert (walk.distance() < 0.01).item() == ends_there


def test_chance_ends_at_the_most_similar_view_that_it_saw():
    starts = random_poses("rotation", 6)
    walk = Walk("rotation", starts, goals_from("rotation", starts))
    rng = np.random.default_rng(0)
    agent = RandomReturnAgent(known("rotation"), MOTORS["rotation"], 6, steps=8, rng=rng)
    nearest = walk.distance()
    for _ in range(8):
        walk.act(agent)
        nearest = torch.minimum(nearest, walk.distance())
    torch.testing.assert_close(walk.distance(), nearest, atol=2e-3, rtol=0)
    assert (nearest < np.radians(65)).any()


@pytest.fixture(scope="module", params=["translation", "rotation"])
def fitted(request):
    kind = request.param
    poses = random_poses(kind, 300, 8, seed=4)
    data = known(kind).as_target(poses), poses
    config = InverseConfig(components=2, hidden=64, steps=400, batch_size=128, learning_rate=5e-3)
    return kind, fit_inverse(kind, *data, config), data, config


def test_an_inverse_model_finds_the_motion(fitted, tmp_path):
    kind, model, (z, poses), _ = fitted
    here, goal = z[:, 0], z[:, 1]
    true = relative(kind, poses[:, 0], poses[:, 1])
    off = pairwise_distance(kind, model.propose(here, goal), true[:, None])[:, 0]
    assert off.median() < (0.15 if kind == "translation" else np.radians(25))
    # Its density is high at the motion, and falls off; weights are normalised and spreads positive.
    density = model.log_density(here, goal, torch.stack([true, identity_like(kind, true)], dim=1))
    assert (density[:, 0] > density[:, 1]).float().mean() > 0.9
    mixture = model(here, goal)
    torch.testing.assert_close(mixture.log_weights.exp().sum(dim=1), torch.ones(300))
    assert mixture.spread.min() > 0
    model.save(tmp_path / "new")
    loaded = InverseModel.load(tmp_path / "new")
    assert torch.equal(loaded.propose(here, goal), model.propose(here, goal)) and not loaded.training


def test_the_inverse_agent_goes_where_the_model_says(fitted):
    kind, model, _, _ = fitted
    starts = random_poses(kind, 6, seed=6) * (1.0 if kind == "rotation" else 0.5)
    world = known(kind)
    walk = Walk(kind, starts, goals_from(kind, starts) if kind == "rotation" else starts + 0.2)
    agent, alone = InverseAgent(world, model, MOTORS[kind], 6), InverseAgent(world, model, MOTORS[kind], 1)
    single = Walk(kind, starts[4:5], walk.goals[4:5])
    before = walk.distance()
    for _ in range(4):
        np.testing.assert_allclose(walk.act(agent)[4:5], single.act(alone), atol=2e-3)  # rounding adds up as they walk
    assert walk.distance().median() < 0.6 * before.median()
    fresh = InverseAgent(world, model, MOTORS[kind], 6)
    fresh.set_state(agent.state())
    np.testing.assert_array_equal(fresh.act(*walk.observation()), agent.act(*walk.observation()))


def test_an_inverse_model_follows_its_seed_alone(fitted):
    kind, _, data, _ = fitted
    config = InverseConfig(hidden=8, steps=5, seed=3)
    torch.manual_seed(1)
    one = fit_inverse(kind, *data, config)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # the global generator was left alone
    two = fit_inverse(kind, *data, config)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_spread_of_an_inverse_model_is_that_of_the_motions():
    # Embeddings tell nothing, so that all it can learn is the spread of the motions themselves.
    poses = torch.randn(400, 6, 2, generator=torch.Generator().manual_seed(0)) / 2**0.5
    config = InverseConfig(components=1, hidden=8, steps=300, learning_rate=0.02)
    mixture = fit_inverse("translation", torch.zeros(400, 6, 3), poses, config)(torch.zeros(1, 3), torch.zeros(1, 3))
    assert abs(mixture.spread.item() - 1) < 0.08 and mixture.motions.abs().max() < 0.1


def test_likelihoods_of_similarities_are_those_of_correlated_normals():
    curve = SimilarityCurve((0.0, 1.0, 2.0), (0.9, 0.5, 0.3), (0.1, 0.2, 0.4), shared=0.4)
    similarity, distance = torch.tensor([[0.8, 0.6]]), torch.tensor([[[0.5, 3.0], [1.5, 1.0]]])
    found = curve.log_likelihood(similarity, distance)
    means, stds = np.array([[0.7, 0.4], [0.3, 0.5]]), np.array([[0.15, 0.3], [0.4, 0.2]])
    expected = []
    for mean, std in zip(means, stds, strict=True):
        covariance = np.outer(std, std) * np.array([[1, 0.4], [0.4, 1]])
        off = np.array([0.8, 0.6]) - mean
        expected.append(-0.5 * off @ np.linalg.inv(covariance) @ off - np.log(std).sum())
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-4)


def test_a_curve_measures_mean_spread_and_what_views_of_a_goal_share(tmp_path):
    # One thing in two looks alike from everywhere, so that residuals are shared; cosines fall with distance.
    generator = torch.Generator().manual_seed(0)
    poses = 2 * torch.rand(300, 6, 2, generator=generator) - 1
    angle = poses[..., :1] * 0.8
    wave = torch.cat([angle.cos(), angle.sin()], dim=-1)
    alike = torch.ones(300, 6, 1) * (torch.arange(300) % 2)[:, None, None] * 2
    curve = fit_similarity("translation", torch.cat([wave, alike], dim=-1), poses, bins=8)
    assert curve.means[0] > 0.99 and curve.means[-1] < 0.8 and curve.distances[0] < 0.2
    assert list(curve.distances) == sorted(curve.distances)
    apart = fit_similarity("translation", torch.randn(300, 6, 9, generator=generator), poses)
    assert curve.shared > 0.3 and abs(apart.shared) < 0.05
    curve.save(tmp_path / "curve.json")
    assert SimilarityCurve.load(tmp_path / "curve.json") == curve


def test_a_curve_stays_beyond_its_ends_and_takes_any_number():
    curve = SimilarityCurve((0.1, 1.1), (0.9, 0.2), (0.1, 0.1))
    distance = torch.tensor([[[0.0, 0.1, 0.6, 5.0]]], dtype=torch.float64)
    found = curve.log_likelihood(torch.tensor([[0.9]]), distance)
    means = np.array([0.9, 0.9, 0.55, 0.2])
    np.testing.assert_allclose(found[0].numpy(), -0.5 * ((0.9 - means) / 0.1) ** 2 - np.log(0.1), atol=1e-6)
    one = SimilarityCurve((0.0,), (0.5,), (0.1,)).log_likelihood(torch.ones(1, 1), torch.ones(1, 1, 3))
    np.testing.assert_allclose(one.numpy(), np.full((1, 3), -0.5 * 5**2 - np.log(0.1)), rtol=1e-5)


def test_pairs_that_never_moved_share_one_bin():
    poses = torch.zeros(40, 3, 2)
    poses[:, 2, 0] = torch.linspace(0.5, 1.0, 40)
    curve = fit_similarity("translation", torch.cat([poses + 1, torch.ones(40, 3, 1)], dim=-1), poses, bins=6)
    assert curve.distances[0] == 0 and curve.distances[1] > 0.1 and curve.stds[0] == pytest.approx(1e-3)
    still = fit_similarity("translation", torch.randn(40, 3, 5), torch.full((40, 3, 2), 0.3), bins=6)
    assert still.distances == (0.0,)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (((1.0, 0.0), (0.1, 0.2), (0.1, 0.1)), "rising"),
        (((0.0, 1.0), (0.1, 0.2), (0.1, 0.0)), "std above 0"),
        (((0.0, 1.0), (0.1, 0.2), (0.1,)), "each with a mean"),
        (((0.0, 1.0), (0.1, 0.2), (0.1, 0.1), 1.0), "below 1"),
    ],
)
def test_what_is_no_curve_is_refused(curve, message):
    with pytest.raises(ValueError, match=message):
        SimilarityCurve(*curve)


def test_the_stop_parts_near_from_far():
    similarity = torch.tensor([0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9])
    distance = torch.tensor([3.0, 2.0, 0.1, 1.9, 0.2, 0.1, 0.0])
    assert calibrate_stop(similarity, distance, 0.5) == pytest.approx(0.7)  # 3 of 4 near ones, no far one
    tied = torch.tensor([0.9, 0.5, 0.5, 0.5, 0.1])  # a threshold takes all that are equal to it
    assert calibrate_stop(tied, torch.tensor([0.0, 0.0, 2.0, 2.0, 2.0]), 0.5) == pytest.approx(0.9)
    assert calibrate_stop(torch.tensor([0.8, 0.9, 0.1]), torch.tensor([0.0, 0.0, 1.0]), 0.5) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="pairs within 5 and beyond, got 7 of 7 within"):
        calibrate_stop(similarity, distance, 5.0)


def test_what_does_not_fit_is_refused_naming_both():
    agent = goal_agent("translation", 1)
    observation, info = Walk("translation", torch.zeros(1, 2), torch.zeros(1, 2)).observation()
    with pytest.raises(ValueError, match=r"as the glimpses are, \(1, 4, 4, 3\), got \(1, 24\)"):
        agent.act(observation | {"goal": np.zeros((1, 24), np.float32)}, info)
    del observation["goal"]
    with pytest.raises(ValueError, match=r"expected a goal view 'goal' beside \['glimpse', 'motion'\]"):
        agent.act(observation, info)
    with pytest.raises(ValueError, match=r"settings\.inverse an inverse model"):
        goal_agent("translation", 1, BeliefSettings())
    context = Context(known("translation"), "translation", 1)
    with pytest.raises(ValueError, match=r"hypotheses must be \(K, 2\), as the motions are, got \(5, 4\)"):
        GoalBelief(context, torch.zeros(5, 4), 0.1, SIMILARITY, curve=known_curve("translation"))
    context.model.predicts = False
    with pytest.raises(ValueError, match="this model predicts nothing"):
        GoalBelief(context, torch.zeros(5, 2), 0.1, PREDICTOR)
    with pytest.raises(ValueError, match=r"reads embeddings \(n, 8\) of views and of goals, got \(2, 8\) and \(2, 9\)"):
        InverseModel("translation", 2, 8, InverseConfig())(torch.zeros(2, 8), torch.zeros(2, 9))
    with pytest.raises(ValueError, match=r"got \(3, 4, 8\) and \(3, 5, 2\)"):
        fit_inverse("translation", torch.zeros(3, 4, 8), torch.zeros(3, 5, 2))
    with pytest.raises(ValueError, match="no action commands a colour"):
        InverseModel("rotation-colour", 6, 8, InverseConfig())
