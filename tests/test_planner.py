"""Planners find the action that a known model shows to be right, remember what is left of a plan, and refuse others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from toy_models import TrueModel, spelt_out

from glimpseworld.agents.context import Context
from glimpseworld.agents.motor import Motor
from glimpseworld.agents.plan_objectives import ReachEmbedding
from glimpseworld.agents.plan_search import Warm, cem, grid_actions, jump, mppi, spread_motions
from glimpseworld.agents.planner import Planner, PlannerConfig, motions_reached
from glimpseworld.world_model.motion_tensors import size_of
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

EYE = Motor("translation", (0.25, 0.25))
HAND = Motor("rotation", (np.pi / 4,))
STARTS = np.array([[0.0, 0.0], [0.4, -0.4], [-0.5, 0.2]])
GOALS = np.array([[0.15, -0.1], [0.3, -0.2], [-0.5, 0.2]])


def seeing(model, kind, poses):
    context = Context(model, kind, len(poses), capacity=8)
    motion = np.zeros((len(poses), model.config.motion_dim), np.float32)
    context.observe(spelt_out(poses), motion, np.ones(len(poses), bool))
    return context


def toy(config, starts=STARTS, goals=GOALS, motor=EYE):
    model = TrueModel(motor.kind)
    goals = model.as_target(torch.tensor(goals, dtype=torch.float32))
    return Planner(model, motor, ReachEmbedding(goals), config), seeing(model, motor.kind, starts)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


CONFIGS = {
    "cem": PlannerConfig("cem", horizon=1, iterations=4, min_std=0.01),
    "mppi": PlannerConfig("mppi", horizon=1, iterations=8, candidates=512, temperature=0.0005),
    "grid": PlannerConfig("grid", candidates=41**2),
    "jump": PlannerConfig("jump", candidates=512, horizon=4),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_search_finds_the_action_that_shows_the_goal(name):
    planner, context = toy(CONFIGS[name])
    right = (GOALS - STARTS) / 0.25
    np.testing.assert_allclose(planner.plan(context, generator()).numpy(), right, atol=0.08)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_search_turns_towards_the_goal(name):
    starts = Rotation.random(4, random_state=1)
    turns = Rotation.from_rotvec(np.array([[0.5, -0.3, 0.2], [0, 0, 0], [-0.6, 0.6, 0.1], [0.1, 0.2, -0.7]]))
    planner, context = toy(replace(CONFIGS[name], horizon=2), starts.as_quat(), (starts * turns).as_quat(), HAND)
    if name == "grid":
        planner = Planner(planner.model, HAND, planner.objective, PlannerConfig("grid", candidates=17**3))
    actions = planner.plan(context, generator()).double().numpy()
    steps = 1 if name in ("grid", "jump") else 2
    if steps == 1:
        left = (Rotation.from_rotvec(actions * np.pi / 4).inv() * turns).magnitude()
    else:  # the goal is where the whole plan leads
        plan = planner.state()["plan"].astype(float) * np.pi / 4
        left = (Rotation.from_rotvec(plan[:, 0]) * Rotation.from_rotvec(plan[:, 1])).inv() * turns
        left = left.magnitude()
    assert np.degrees(left).max() < 7


def test_a_jump_looks_further_than_a_step_and_its_first_action_leads_there():
    starts, goals = np.array([[-0.5, 0.0], [0.0, 0.0]]), np.array([[0.3, 0.2], [0.0, 0.0]])
    planner, context = toy(CONFIGS["jump"], starts, goals)
    actions = planner.plan(context, generator()).numpy()
    assert actions[0] == pytest.approx([1, 0.25], abs=0.05)  # 0.8 and 0.2 of a reach of 0.25 a step
    assert np.abs(actions[1]).max() < 0.05  # staying is a candidate


def test_a_plan_of_several_steps_is_predicted_at_once_where_its_motions_lead():
    planner, context = toy(PlannerConfig("cem", candidates=32, horizon=4, iterations=2))
    planner.plan(context, generator())
    assert planner.model.calls == [(3, 128, 2)] * 2
    ahead = torch.tensor([[[0.1, 0.0], [0.2, -0.3]]])
    np.testing.assert_allclose(motions_reached("translation", ahead), [[[0.1, 0.0], [0.3, -0.3]]], atol=1e-6)
    turns = Rotation.random(3, random_state=2)
    found = motions_reached("rotation", torch.from_numpy(turns.as_quat())).numpy()
    np.testing.assert_allclose(np.abs(found[2] @ (turns[0] * turns[1] * turns[2]).as_quat()), 1, atol=1e-9)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_seed_acts_the_same_and_a_row_alone_as_in_company(name):
    def acting(rows, seed=3):
        planner, context = toy(CONFIGS[name], STARTS[rows], GOALS[rows])
        draws, taken = generator(seed), []
        for step in range(3):
            taken.append(planner.plan(context, draws))
            motion = (taken[-1] * 0.25).numpy()
            begun = np.array([step == 1 and row == 0 for row in rows])
            context.observe(spelt_out(STARTS[rows] + 0.1 * step), motion, begun)
        return torch.stack(taken)

    together = acting([0, 1, 2])
    assert torch.equal(together, acting([0, 1, 2]))
    for row in range(3):
        alone = acting([row])[:, 0]  # cosines near 1 differ by rounding, and their order with them
        torch.testing.assert_close(alone, together[:, row], atol=0.01, rtol=0)
    assert name == "grid" or not torch.equal(together, acting([0, 1, 2], seed=4))


def test_the_rest_of_a_plan_begins_the_next_search_until_an_episode_begins():
    """With one candidate, which is the plan so far, nothing is searched: what comes out is what was remembered."""
    planner, context = toy(PlannerConfig("cem", candidates=1, elites=1, kept_elites=0, horizon=3, iterations=1))
    planner.plan(context, generator())
    state = planner.state()
    state["plan"] = np.arange(18, dtype=np.float32).reshape(3, 3, 2) / 20
    planner.set_state(state)
    context.observe(spelt_out(STARTS), np.zeros((3, 2), np.float32), np.array([False, True, False]))
    actions = planner.plan(context, generator()).numpy()
    np.testing.assert_allclose(actions, [[0.1, 0.15], [0, 0], [0.7, 0.75]], atol=1e-6)
    context.observe(spelt_out(STARTS), np.zeros((3, 2), np.float32), np.zeros(3, bool))
    actions = planner.plan(context, generator()).numpy()
    np.testing.assert_allclose(actions, [[0.2, 0.25], [0, 0], [0.8, 0.85]], atol=1e-6)
    context.observe(spelt_out(STARTS), np.zeros((3, 2), np.float32), np.zeros(3, bool))
    assert planner.plan(context, generator()).abs().max() == 0  # the plan is over


def away_from(optimum):
    """Scores a narrow peak that few draws would find."""
    return lambda actions: -(actions - optimum).abs().amax(dim=(2, 3))


def test_known_elites_are_candidates_and_unknown_ones_are_not():
    config = PlannerConfig("cem", candidates=8, elites=4, kept_elites=2, iterations=2)
    optimum = torch.full((2, 1, 4, 3), 0.9)
    elites = torch.zeros(2, 2, 4, 3)
    elites[:, 1] = optimum[:, 0]
    warm = Warm(torch.zeros(2, 4, 3), elites, torch.tensor([True, False]))
    noise = 0.1 * torch.randn(2, 8, 4, 3, generator=generator())
    found = cem(away_from(optimum), warm, noise, config)
    assert torch.equal(found.plan[0], optimum[0, 0])  # found in the first round, kept through the second
    assert torch.equal(found.elites[0, 0], optimum[0, 0])
    assert (found.plan[1] - 0.9).abs().max() > 0.3
    forgetting = replace(config, kept_elites=0)
    without = cem(away_from(optimum), Warm(warm.plan, elites[:, :0], warm.known), noise, forgetting)
    assert (without.plan - 0.9).abs().amax(dim=(1, 2)).min() > 0.3


def test_cem_finds_an_optimum_off_the_centre_and_mppi_the_weighted_mean():
    optimum = torch.rand(5, 1, 3, 2, generator=generator(1)) * 1.6 - 0.8
    warm = Warm(torch.zeros(5, 3, 2), torch.zeros(5, 8, 3, 2), torch.zeros(5, dtype=torch.bool))
    config = PlannerConfig("cem", iterations=12, min_std=0.01)
    noise = torch.randn(12, 256, 3, 2, generator=generator(2))
    found = cem(lambda actions: -(actions - optimum).square().sum(dim=(2, 3)), warm, noise, config)
    torch.testing.assert_close(found.plan, optimum[:, 0], atol=0.03, rtol=0)
    two = torch.tensor([[[[1.0]], [[-0.5]], [[7.0]]]])  # the third is replaced by the mean so far, 0
    start = Warm(torch.zeros(1, 1, 1), torch.zeros(1, 0, 1, 1), torch.zeros(1, dtype=torch.bool))
    scores = torch.tensor([[0.2, 0.1, 0.0]])
    mean = mppi(lambda actions: scores, start, two[0][None], PlannerConfig("mppi", temperature=0.1, std=1.0)).plan
    weights = np.exp([2, 1, 0]) / np.exp([2, 1, 0]).sum()
    assert mean.item() == pytest.approx(weights @ [1, -0.5, 0], abs=1e-6)


def test_grids_and_spreads_cover_what_can_be_done():
    grid = grid_actions(2, 30)
    assert grid.shape == (25, 2) and {tuple(row) for row in grid.tolist()} >= {(-1, -1), (1, -0.5), (0, 0)}
    assert grid_actions(3, 100).shape == (27, 3)
    wide = PlannerConfig("jump", candidates=4000, horizon=3, iterations=2)
    ball, near = spread_motions(Motor("rotation", (0.5,)), wide, generator())
    assert 1.45 < size_of("rotation", ball).max() <= 1.5 + 1e-5
    assert (size_of("rotation", ball) < 0.75).float().mean() == pytest.approx(1 / 8, abs=0.03)
    assert 0.43 < size_of("rotation", near).max() <= 0.45 + 1e-5
    stated, _ = spread_motions(HAND, replace(wide, reach=0.3), generator())
    assert 0.28 < size_of("rotation", stated).max() <= 0.3 + 1e-5
    box, _ = spread_motions(Motor("translation", (0.2, 0.1, 0.5)), wide, generator())
    np.testing.assert_allclose(box.abs().amax(dim=0), [0.6, 0.3, 1.5], atol=0.01)
    box, _ = spread_motions(Motor("translation", (0.2, 0.1, 0.5)), replace(wide, reach=1.0), generator())
    np.testing.assert_allclose(box.abs().amax(dim=0), [1, 1, 1.5], atol=0.01)


def test_later_rounds_of_a_jump_search_look_around_the_best():
    goal = torch.tensor([[0.33, -0.71], [-0.2, 0.5]])
    offsets = spread_motions(EYE, PlannerConfig("jump", candidates=64, iterations=4), generator())

    def far(jumps):
        return -(jumps - goal[:, None]).norm(dim=-1)

    errors = [-far(jump(far, torch.zeros(2, 2), offsets[:n], "translation")[:, None]).max() for n in range(1, 5)]
    assert errors == sorted(errors, reverse=True) and errors[3] < 0.02 < errors[0]


def seq_jepa(**options):
    torch.manual_seed(0)
    sizes = {"size": 16, "z_dim": 32, "motion_embedding": 8, "predictor_hidden": 32}
    return SeqJEPA(SeqJEPAConfig(**{"motion_dim": 2, "motion_kind": "translation", **sizes, **options})).eval()


@pytest.mark.parametrize("far", ["jump", "feedback"])
def test_futures_of_a_seq_jepa_are_its_own_predictions(far):
    model, seen = seq_jepa(), []

    class Keep:
        def score(self, futures):
            seen.append(futures)
            return futures.predictions.mean(dim=(2, 3))

    planner = Planner(model, EYE, Keep(), PlannerConfig(candidates=8, elites=2, kept_elites=1, horizon=2, far=far))
    context = Context(model, "translation", 3)
    rng = np.random.default_rng(0)
    for step in range(3):
        glimpse = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
        context.observe(glimpse, np.full((3, 2), 0.1, np.float32), np.array([step < 1, step < 1, step == 2]))
    planner.plan(context, generator())
    assert [(f.rows.tolist(), f.z.shape[1]) for f in seen[::3]] == [([2], 1), ([0, 1], 3)]
    for futures in seen:
        assert torch.equal(futures.here, context.here(futures.rows))
        torch.testing.assert_close(futures.ahead, futures.actions * 0.25)
        if far == "feedback":
            expected = model.rollout(futures.z, futures.motions, futures.ahead)
        else:
            whole = futures.ahead.cumsum(dim=2).flatten(1, 2)
            expected = model.predict_from(futures.z, futures.motions, whole).unflatten(1, (-1, 2))
        torch.testing.assert_close(futures.predictions, expected)


def test_many_futures_are_predicted_in_parts_that_fit(monkeypatch):
    whole, context = toy(CONFIGS["cem"])
    expected = whole.plan(context, generator())
    monkeypatch.setattr("glimpseworld.agents.planner.PREDICTED_AT_ONCE", 300)
    parts, context = toy(CONFIGS["cem"])
    torch.testing.assert_close(parts.plan(context, generator()), expected)
    assert parts.model.calls[:3] == [(1, 256, 2)] * 3


def test_each_part_is_scored_with_what_belongs_to_its_rows(monkeypatch):
    monkeypatch.setattr("glimpseworld.agents.planner.PREDICTED_AT_ONCE", 2 * 8 * 3)
    planner, context = toy(PlannerConfig("cem", candidates=8, elites=2, kept_elites=1, horizon=3, iterations=1))
    seen = []

    class Keep:
        def score(self, futures):
            seen.append(futures)
            return futures.predictions.mean(dim=(2, 3))

    planner.objective = Keep()
    planner.plan(context, generator())
    assert [futures.rows.tolist() for futures in seen] == [[0, 1], [2]]
    for futures in seen:
        assert torch.equal(futures.z, context.z[futures.rows, :1])
        assert {len(part) for part in futures} == {len(futures.rows)}
        expected = planner.model.predict_from(futures.z, futures.motions, futures.ahead.cumsum(dim=2).flatten(1, 2))
        torch.testing.assert_close(futures.predictions, expected.unflatten(1, (8, 3)))


@pytest.mark.parametrize(
    ("model", "motor", "options", "message"),
    [
        (seq_jepa(condition="aggregator"), EYE, {}, "this SeqJEPA predicts nothing from a motion"),
        (seq_jepa(), HAND, {}, "'rotation' of 4 numbers, and the world model's 'translation' of 2"),
        (seq_jepa(motion_dim=3), EYE, {}, "'translation' of 2 numbers, and the world model's 'translation' of 3"),
        (
            seq_jepa(motion_dim=4, motion_kind=None),
            EYE,
            {},
            "'translation' of 2 numbers, and the world model's of 4",
        ),
        (TrueModel(), EYE, {"far": "feedback"}, "needs a SeqJEPA, .* got a TrueModel"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(model, motor, options, message):
    with pytest.raises(ValueError, match=message):
        Planner(model, motor, ReachEmbedding(), PlannerConfig(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method must be one of"),
        ({"far": "near"}, "far must be one of"),
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"candidates": 16}, "elites <= candidates, got 8, 32 and 16"),
        ({"temperature": 0.0}, "temperature must be above 0"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PlannerConfig(**options)


def test_a_context_of_another_model_and_too_small_a_grid_are_refused():
    planner, context = toy(PlannerConfig("grid", candidates=8))
    with pytest.raises(ValueError, match="at least 9 candidates: 8"):
        planner.plan(context, generator())
    with pytest.raises(ValueError, match="'translation', and the context is of another model and kind 'rotation'"):
        planner.plan(
            seeing(TrueModel("rotation"), "rotation", Rotation.random(3, random_state=0).as_quat()), generator()
        )
