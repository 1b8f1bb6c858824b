"""Homing agents in toy worlds, where the embedding of a view is a known function of the pose."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from toy_models import TrueModel, spelt_out

from glimpseworld.agents.localisation import PoseFilter
from glimpseworld.agents.motor import Motor
from glimpseworld.agents.path_integrator import DeadReckoningAgent, PathIntegratorAgent, PathIntegratorConfig
from glimpseworld.agents.similarity import SimilarityCurve

MOTOR = Motor("translation", (0.3, 0.3))


def plane(longest=None):
    return TrueModel(scale=3.0, longest=longest)


def play(agent, *, rows=8, imposed=4, steps=8, noise=0.0, seed=0, motions=None, kept=None):
    """Drive homing episodes over the plane and return the ways from home at the end, (B, 2), and all actions."""
    draws = [np.random.default_rng([seed, row]) for row in (range(rows) if kept is None else kept)]
    start = np.stack([rng.uniform(-0.5, 0.5, 2) for rng in draws])
    place, motion, taken = start.copy(), np.zeros_like(start), []
    for step in range(imposed + steps):
        told = motion if motions is None else motions[step]
        observation = {
            "glimpse": spelt_out(place),
            "motion": told.astype(np.float32),
            "imposed": np.full((len(draws), 1), step < imposed, np.float32),
        }
        own = agent.act(observation, {"step_index": np.full(len(draws), step)})
        assert step >= imposed or not own.any()
        given = np.stack([rng.uniform(-1, 1, 2) for rng in draws])
        moved = 0.3 * (given if step < imposed else own)
        place = place + moved
        motion = moved + noise * np.stack([rng.standard_normal(2) for rng in draws])
        taken.append(own)
    return place - start, np.stack(taken)


def integrator(rows=8, *, model=None, seed=3, curve=None, **options):
    settings = {"motion_std": 0.1, "similarity": 0.0, "predictor": 20.0, "spread": 1.5, "radius": 0.05, **options}
    generator = torch.Generator().manual_seed(seed)
    config = PathIntegratorConfig(**settings)
    return PathIntegratorAgent(model or plane(), MOTOR, rows, generator, config=config, curve=curve)


def test_exact_dead_reckoning_comes_home_and_rests():
    way, actions = play(DeadReckoningAgent(MOTOR, 8))
    assert np.abs(way).max() < 1e-6 and not actions[-1].any() and actions[4].any()


def test_exact_dead_reckoning_of_rotations_undoes_them_in_their_order():
    agent, turns = DeadReckoningAgent(Motor("rotation", (np.pi,)), 1), Rotation.random(3, random_state=1)
    quaternions = turns.as_quat() * np.sign(turns.as_quat()[:, 3:])
    for step in range(4):
        motion = np.zeros((1, 4), np.float32) if step == 0 else quaternions[step - 1 : step].astype(np.float32)
        observation = {"motion": motion, "imposed": np.full((1, 1), step < 3, np.float32)}
        actions = agent.act(observation, {"step_index": np.array([step])})
    home = turns[0] * turns[1] * turns[2] * Rotation.from_rotvec(np.pi * actions[0])
    assert home.magnitude() < 1e-5


def test_noisy_dead_reckoning_misses_by_the_sum_of_the_noise():
    motions = np.zeros((6, 1, 2), np.float32)
    motions[1:4] = [[[0.3, 0.0]], [[0.0, 0.2]], [[-0.1, 0.05]]]  # of which nothing is true: the body never moved
    agent, place, moved = DeadReckoningAgent(MOTOR, 1), np.zeros(2), np.zeros((1, 2), np.float32)
    for step in range(6):
        if step > 3:
            motions[step] = moved
        observation = {"motion": motions[step], "imposed": np.full((1, 1), step < 3, np.float32)}
        moved = (0.3 * agent.act(observation, {"step_index": np.array([step])})).astype(np.float32)
        place += moved[0]
    np.testing.assert_allclose(place, [-0.2, -0.25], atol=1e-6)


def test_at_rest_observed_motions_are_noise():
    agent = DeadReckoningAgent(MOTOR, 1)
    for step in range(4):
        motion = np.full((1, 2), 0.5 * (step == 3), np.float32)
        observation = {"motion": motion, "imposed": np.zeros((1, 1), np.float32)}
        assert not agent.act(observation, {"step_index": np.array([step])}).any()


@pytest.mark.parametrize("agent", [integrator(motion_std=0.0), integrator(motion_std=0.0, predictor=0.0)])
def test_exact_motions_leave_vision_nothing_to_correct(agent):
    way, actions = play(agent)
    assert np.abs(way).max() < 0.025 and not actions[-1].any()


def test_vision_and_motion_beat_noisy_dead_reckoning_and_the_same_without_vision():
    rows = 24
    reckoned = np.linalg.norm(play(DeadReckoningAgent(MOTOR, rows), rows=rows, noise=0.1)[0], axis=1)
    blind = np.linalg.norm(play(integrator(rows, predictor=0.0), rows=rows, noise=0.1)[0], axis=1)
    both = np.linalg.norm(play(integrator(rows), rows=rows, noise=0.1)[0], axis=1)
    assert np.median(both) < 0.08 < 0.2 < np.median(reckoned)
    assert np.median(blind) > 0.2
    assert (both < 0.12).mean() > 0.85


def test_similarity_alone_corrects_as_well():
    rows, curve = 24, SimilarityCurve((0.0, 0.1, 0.2, 0.3, 0.5), (1.0, 0.95, 0.82, 0.64, 0.3), (0.02,) * 5)
    blind = np.linalg.norm(play(integrator(rows, predictor=0.0), rows=rows, noise=0.1)[0], axis=1)
    seen = integrator(rows, predictor=0.0, similarity=1.0, curve=curve)
    assert np.median(np.linalg.norm(play(seen, rows=rows, noise=0.1, steps=12)[0], axis=1)) < 0.7 * np.median(blind)


def test_the_path_memory_is_asked_while_the_first_view_is_in_its_reach():
    model = plane(longest=5)
    play(integrator(4, model=model, predictor=0.0), rows=4, noise=0.1)
    assert sorted(set(model.recalled)) == [2, 3, 4, 5]
    short = plane(longest=5)
    config, draws = PathIntegratorConfig(similarity=0.0, predictor=0.0), torch.Generator().manual_seed(0)
    play(PathIntegratorAgent(short, MOTOR, 4, draws, config=config, capacity=2), rows=4, noise=0.1)
    assert len(short.recalled) == len(model.recalled)  # never without the first view
    way, _ = play(integrator(24, model=plane(longest=12), predictor=0.0, memory=20.0), rows=24, noise=0.1)
    assert np.median(np.linalg.norm(way, axis=1)) < 0.1


def test_without_motions_none_enters():
    agents = [integrator(**vars(PathIntegratorConfig(similarity=0.0).without_motion())) for _ in range(2)]
    told = np.random.default_rng(0).uniform(-1, 1, (12, 8, 2))
    (_, true), (_, other) = play(agents[0]), play(agents[1], motions=told)
    np.testing.assert_array_equal(true[:5], other[:5])  # until what is seen differs, were it to
    np.testing.assert_array_equal(true, other)
    assert not agents[1].context.pose.any()


def test_without_a_prior_it_finds_home_by_the_context():
    way, _ = play(integrator(16, prior=False, particles=2048), rows=16, steps=10)
    assert (np.linalg.norm(way, axis=1) < 0.15).mean() > 0.8


def test_a_row_alone_acts_as_in_company():
    _, all_rows = play(integrator(6), rows=6, noise=0.1)
    _, alone = play(integrator(1), noise=0.1, kept=[4])
    np.testing.assert_allclose(alone[:, 0], all_rows[:, 4], atol=1e-4)


def test_the_same_seed_acts_the_same_and_another_does_not():
    one, same, other = (play(integrator(seed=seed), noise=0.1)[1] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("make", [integrator, lambda: DeadReckoningAgent(MOTOR, 8)])
def test_state_restores_an_agent(make):
    one, other = make(), make()
    told = np.random.default_rng(1).uniform(-0.3, 0.3, (5, 8, 2)).astype(np.float32)

    def act(agent, step):
        observation = {"glimpse": spelt_out(told[step]), "motion": told[step]}
        return agent.act({**observation, "imposed": np.zeros((8, 1), np.float32)}, {"step_index": np.full(8, step)})

    for step in range(4):
        act(one, step)
    other.set_state(one.state())
    if isinstance(one, PathIntegratorAgent):
        other.belief._generator.set_state(one.belief._generator.get_state())
    np.testing.assert_array_equal(act(one, 4), act(other, 4))


def test_an_episode_that_begins_forgets_the_last_one():
    agent = integrator(2)
    play(agent, rows=2, noise=0.1)
    observation = {"glimpse": spelt_out(np.zeros((2, 2))), "motion": np.zeros((2, 2), np.float32)}
    actions = agent.act({**observation, "imposed": np.zeros((2, 1), np.float32)}, {"step_index": np.zeros(2, int)})
    assert not actions.any() and not agent.belief.pose.any() and agent.context.held.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: integrator(similarity=1.0), "takes a SimilarityCurve"),
        (lambda: integrator(radius=0.0), "radius > 0"),
        (lambda: integrator(predictor=-1.0), "weights >= 0"),
        (lambda: integrator(lost=2.0), r"lost in \[0, 1\]"),
        (lambda: DeadReckoningAgent(MOTOR, 0), "num_envs >= 1"),
        (lambda: DeadReckoningAgent(MOTOR, 1).act({"motion": np.zeros((1, 2))}, {}), "with 'imposed'"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_model_without_predictions_cannot_be_weighed_by():
    model = plane()
    model.predicts = False
    with pytest.raises(ValueError, match="predicts nothing"):
        integrator(model=model)
    integrator(model=model, predictor=0.0)


def advance(belief, motions, times=1):
    rows = len(belief.pose)
    for _ in range(times):
        belief.advance(torch.as_tensor(motions), torch.ones(rows, dtype=bool), torch.zeros(rows, dtype=bool))


def make_filter(kind="translation", size=2, rows=1, **options):
    settings = {"particles": 4000, "std": 0.1, "spread": 1.0, **options}
    belief = PoseFilter(kind, size, rows, torch.Generator().manual_seed(0), **settings)
    begins = torch.ones(rows, dtype=bool)
    belief.advance(torch.zeros(rows, size), ~begins, begins)
    return belief


def test_particles_spread_as_errors_add_up():
    belief = make_filter()
    advance(belief, [[0.2, 0.0]], times=9)
    np.testing.assert_allclose(belief.pose[0].mean(0).numpy(), [1.8, 0.0], atol=0.02)
    np.testing.assert_allclose(belief.pose[0].std(0).numpy(), 0.3, atol=0.02)  # 0.1 * sqrt(9)
    turned = make_filter("rotation", 4)
    advance(turned, [[0.0, 0.0, 0.0, 1.0]], times=4)
    vectors = Rotation.from_quat(turned.pose[0].numpy()).as_rotvec()
    np.testing.assert_allclose(vectors.std(0), 0.2, atol=0.015)


def test_evidence_moves_the_estimate_as_kalman_has_it():
    belief = make_filter()
    advance(belief, [[0.5, 0.0]], times=4)  # N((2, 0), 0.2^2)
    seen = torch.tensor([2.3, -0.3])
    belief.weigh(torch.tensor([0]), -0.5 * ((belief.pose - seen) / 0.1).square().sum(-1))
    # posterior mean: 0.2^2 / (0.2^2 + 0.1^2) = 0.8 of the way to what is seen
    np.testing.assert_allclose(belief.estimate(torch.tensor([0]), 0.5)[0].numpy(), [2.24, -0.24], atol=0.02)
    advance(belief, [[0.0, 0.0]])  # resampled: equal weights, the same belief
    np.testing.assert_allclose(belief.log_weights[0].exp().numpy(), 1 / 4000, rtol=1e-4)
    np.testing.assert_allclose(belief.pose[0].mean(0).numpy(), [2.24, -0.24], atol=0.02)
    np.testing.assert_allclose(belief.pose[0].std(0).numpy(), 0.134, atol=0.015)  # 0.1^2 0.8 + 0.1^2


def test_the_estimate_is_the_peak_with_most_weight_around_it():
    belief = make_filter(particles=5, std=0.0)
    belief.pose[0] = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.05, 0.0], [1.1, 0.0], [-2.0, 0.0]])
    belief.log_weights[0] = torch.tensor([0.3, 0.2, 0.2, 0.2, 0.1]).log()
    np.testing.assert_allclose(belief.estimate(torch.tensor([0]), 0.1)[0].numpy(), [1.05, 0.0], atol=1e-3)


def test_a_row_that_does_not_move_stays_as_sure_and_lost_particles_are_spread():
    belief = make_filter(rows=2, lost=0.25, spread=3.0)
    before = belief.pose.clone()
    belief.advance(torch.zeros(2, 2), torch.tensor([True, False]), torch.zeros(2, dtype=bool))
    assert torch.equal(belief.pose[1], before[1])
    assert belief.pose[0, :3000].abs().max() < 0.6 and belief.pose[0, 3000:].abs().max() > 2.9
    anywhere = make_filter("rotation", 4, anywhere=True, spread=1.0)
    angles = 2 * anywhere.pose[0, :, 3].arccos().numpy()
    assert angles.max() <= 1.0 + 1e-3 and abs(np.median(angles) - 0.5) < 0.03


def test_evidence_for_a_lost_particle_is_not_that_for_its_successor():
    belief = make_filter(particles=4, lost=0.5, std=0.0)
    belief.weigh(torch.tensor([0]), torch.tensor([[0.2, 0.2, 0.4, 0.1]]).log())  # too even to be resampled
    kept = belief.log_weights[0].exp()
    advance(belief, [[0.0, 0.0]])
    expected = torch.tensor([kept[0], kept[1], 0.25, 0.25])
    np.testing.assert_allclose(belief.log_weights[0].exp().numpy(), expected / expected.sum(), rtol=1e-5)
    belief = make_filter(particles=4, lost=1.0)
    belief.weigh(torch.tensor([0]), torch.tensor([[0.2, 0.2, 0.4, 0.1]]).log())
    advance(belief, [[0.0, 0.0]])
    np.testing.assert_allclose(belief.log_weights[0].exp().numpy(), 0.25, rtol=1e-5)
