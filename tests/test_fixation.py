"""Saliency, inhibition of return, and the agents that act by them."""

import json

import numpy as np
import pytest

from glimpseworld.agents.rollout import Rollout
from glimpseworld.agents.scripted import RandomAgent, SaliencyAgent
from glimpseworld.envs.display import saccade_frame
from glimpseworld.envs.eye.fixation import PriorityMap, PrioritySettings, spectral_residual
from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.saccade import SaccadeVectorEnv, SaccadeWorld
from glimpseworld.experiments.config import make_agent

ROW = np.array([0])
FADING = {"radius": 0.3, "strength": 0.9, "decay": 0.6, "centre_bias": 0.7, "temperature": 0.5}


@pytest.fixture(scope="module")
def large_images():
    """Three noise images of the published 96 x 96 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    return ImageSet(pixels, np.zeros(3, dtype=int), ("a",))


def test_spectral_residual_finds_the_odd_one_out():
    rng = np.random.default_rng(0)
    image = rng.integers(100, 110, (96, 96, 3)).astype(np.uint8)
    image[60:76, 20:36] = 250
    row, column = np.unravel_index(spectral_residual(image).argmax(), (96, 96))
    assert 54 <= row <= 82
    assert 14 <= column <= 42
    assert (spectral_residual(np.full((96, 96, 3), 40, dtype=np.uint8)) == 255).all()


def test_inhibition_is_a_disc_around_each_fixation():
    priority = PriorityMap(1, cells=10, settings=PrioritySettings(radius=0.45))
    row = np.array([0])
    priority.begin(row, None)
    priority.fixate(row, np.array([[0.5, -0.3]]))  # x = 0.5: column 7; y = -0.3: row 3
    free = priority.priority(row)[0] > 0
    assert not free[3, 7]
    # Cell centres 0.2 apart: two to each side lie 0.4 away, inside; the diagonal two lie 0.57 away, outside.
    assert not free[3, 5]
    assert not free[1, 7]
    assert free[1, 5]
    assert free[3, 4]
    assert free[7, 3]


def test_fixations_follow_saliency_and_avoid_the_inhibited():
    priority = PriorityMap(2, cells=4, settings=PrioritySettings(radius=0.1))
    rows = np.arange(2)
    saliency = np.zeros((2, 8, 8), dtype=np.uint8)
    saliency[0, 0:2, 6:8] = 10  # cell row 0, column 3: x = 0.75, y = -0.75
    saliency[0, 4:6, 0:2] = 10  # cell row 2, column 0: x = -0.75, y = 0.25
    saliency[1] = 1
    priority.begin(rows, saliency)
    drawn = np.array([priority.sample(rows, np.array([u, u])) for u in np.linspace(0, 0.999, 64)])
    assert {tuple(p) for p in drawn[:, 0]} == {(0.75, -0.75), (-0.75, 0.25)}
    assert len({tuple(p) for p in drawn[:, 1]}) == 16
    priority.fixate(np.array([0]), np.array([[0.75, -0.75]]))
    assert {tuple(priority.sample(rows, np.array([u, u]))[0]) for u in (0, 0.5, 0.99)} == {(-0.75, 0.25)}
    priority.begin(np.array([0]), saliency[:1])
    assert len({tuple(priority.sample(rows, np.array([u, u]))[0]) for u in (0, 0.99)}) == 2


def test_inhibition_works_with_saliency_off_and_lifts_when_all_is_inhibited():
    priority = PriorityMap(1, cells=2, settings=PrioritySettings(radius=0.1))
    row = np.array([0])
    priority.begin(row, None)
    visited = set()
    for _ in range(4):
        place = priority.sample(row, np.array([0.3]))
        visited.add(tuple(place[0]))
        priority.fixate(row, place)
    assert len(visited) == 4
    assert (priority.priority(row) == 1).all()


def test_reach_leaves_out_what_lies_beyond():
    priority = PriorityMap(1, cells=10, settings=PrioritySettings(radius=0.1))
    row = np.array([0])
    priority.begin(row, None)
    places = np.array([priority.sample(row, np.array([u]), reach=0.35)[0] for u in np.linspace(0, 0.999, 200)])
    assert np.abs(places).max() == pytest.approx(0.3)
    assert len(np.unique(places, axis=0)) == 16


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, 1e-60, 1e60])
def test_bad_saliency_maps(value):
    with pytest.raises(ValueError, match="saliency map"):
        PriorityMap(1, cells=4, settings=PrioritySettings(radius=0.1)).begin(np.array([0]), np.full((1, 4, 4), value))
    with pytest.raises(ValueError, match="does not divide"):
        PriorityMap(1, cells=3, settings=PrioritySettings(radius=0.1)).begin(np.array([0]), np.ones((1, 4, 4)))


def one_path(cells, saliency=None, **settings):
    """A priority map of one scanpath, just begun."""
    priority = PriorityMap(1, cells=cells, settings=PrioritySettings(**settings))
    priority.begin(ROW, saliency)
    return priority


def drawn_shares(priority, count=1000, **options):
    """How often each cell (row, column) is drawn, over evenly spread uniforms."""
    rows, uniform = np.zeros(count, dtype=np.int64), (np.arange(count) + 0.5) / count
    place = priority.sample(rows, uniform, **options)
    cell = np.rint(((place + 1) * priority.cells - 1) / 2).astype(int)
    shares = np.zeros((priority.cells, priority.cells))
    np.add.at(shares, (cell[:, 1], cell[:, 0]), 1 / count)
    return shares


def test_inhibition_has_a_strength_and_fades_with_each_fixation():
    priority = one_path(2, radius=0.1, strength=0.8, decay=0.5)
    left_up, right_up, right_down = (np.array([[x, y]]) for x, y in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5)))
    priority.fixate(ROW, left_up)
    np.testing.assert_allclose(priority.priority(ROW)[0], [[0.2, 1], [1, 1]], atol=1e-6)
    priority.fixate(ROW, right_up)
    np.testing.assert_allclose(priority.priority(ROW)[0], [[0.6, 0.2], [1, 1]], atol=1e-6)
    priority.fixate(ROW, right_down)
    np.testing.assert_allclose(priority.priority(ROW)[0], [[0.8, 0.6], [1, 0.2]], atol=1e-6)
    priority.fixate(ROW, left_up)  # a return inhibits by the strength again: discs do not add up
    np.testing.assert_allclose(priority.priority(ROW)[0], [[0.2, 0.8], [1, 0.6]], atol=1e-6)
    np.testing.assert_allclose(drawn_shares(priority), np.array([[0.2, 0.8], [1, 0.6]]) / 2.6, atol=0.0011)
    priority.begin(ROW, None)
    assert (priority.priority(ROW) == 1).all()


def test_half_the_strength_halves_and_none_switches_inhibition_off():
    saliency = np.arange(1, 5).reshape(1, 2, 2)
    for strength, expected in ((1.0, 0), (0.5, 1.5), (0.0, 3)):
        priority = one_path(2, saliency, radius=0.1, strength=strength)
        priority.fixate(ROW, np.array([[-0.5, 0.5]]))
        assert priority.priority(ROW)[0].tolist() == [[1, 2], [expected, 4]]


def test_without_decay_only_the_last_fixation_is_inhibited():
    priority = one_path(2, radius=0.1, decay=0)
    for place in ((-0.5, -0.5), (0.5, 0.5)):
        priority.fixate(ROW, np.array([place]))
    assert priority.priority(ROW)[0].tolist() == [[1, 1], [1, 0]]


def test_scanpaths_fade_apart():
    priority = PriorityMap(3, cells=2, settings=PrioritySettings(radius=0.1, decay=0.5))
    priority.fixate(np.arange(3), np.full((3, 2), -0.5))
    priority.fixate(np.array([2]), np.array([[0.5, 0.5]]))
    assert priority.inhibition[:, 0, 0].tolist() == [1, 1, 0.5]
    assert priority.inhibition[:, 1, 1].tolist() == [0, 0, 1]


def test_the_published_disc_has_a_radius_of_16_pixels(large_images):
    world = SaccadeWorld(large_images)
    priority = world.priority_map(1)
    assert (priority.cells, priority.settings) == (48, PrioritySettings())  # cells of 2 pixels
    priority.begin(ROW, None)
    priority.fixate(ROW, np.array([[0.0, 0.0]]))  # pixel (48, 48), a corner of cells
    centres = 2 * np.arange(48) + 1 - 48  # of cells, in pixels from there
    expected = np.hypot(*np.meshgrid(centres, centres)) <= 16
    np.testing.assert_array_equal(priority.priority(ROW)[0] == 0, expected)
    assert world.priority_map(1).settings.radius == pytest.approx(16 / 48)
    small = ImageSet(large_images.images[:, :40, :40], large_images.labels, large_images.class_names)
    assert SaccadeWorld(small).priority_map(1).settings.radius == pytest.approx(16 / 20)


def test_centre_bias_is_a_gaussian_around_the_centre():
    # Cell centres lie at 0.25 and 0.75; squared distances 0.125, 0.625 and 1.125, the least weighs 1.
    priority = one_path(4, centre_bias=0.5)
    inner, edge, corner = 1, np.exp(-1), np.exp(-2)
    half = np.array([[corner, edge], [edge, inner]])
    expected = np.block([[half, half[:, ::-1]], [half[::-1], half[::-1, ::-1]]])
    np.testing.assert_allclose(priority.priority(ROW)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(drawn_shares(priority), expected / expected.sum(), atol=0.0011)
    saliency = np.random.default_rng(0).integers(1, 9, (1, 4, 4))
    np.testing.assert_allclose(one_path(4, saliency, centre_bias=0.5).priority(ROW), expected * saliency, rtol=1e-6)
    narrow = drawn_shares(one_path(4, centre_bias=1e-200))  # all but the innermost vanish, and nothing is NaN
    np.testing.assert_allclose(narrow[1:3, 1:3], 0.25)


@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
def test_temperature_sharpens_and_flattens(scale):
    weights = np.array([[1.0, 2.0], [0.0, 4.0]])

    def shares(temperature):
        return drawn_shares(one_path(2, weights[None] * scale, temperature=temperature))

    np.testing.assert_allclose(shares(1), weights / 7, atol=0.0011)
    np.testing.assert_allclose(shares(0.5), weights**2 / 21, atol=0.0011)
    np.testing.assert_allclose(shares(2), np.sqrt(weights) / np.sqrt(weights).sum(), atol=0.0011)
    for cold in (1e-3, 1e-300, 5e-324, 0):
        assert shares(cold)[1, 1] == pytest.approx(1)
    np.testing.assert_allclose(shares(1e300), [[1 / 3, 1 / 3], [0, 1 / 3]], atol=0.0011)


def test_at_temperature_zero_equals_share_and_reach_counts():
    weights = np.full((1, 4, 4), 2.0)
    weights[0, 0, 0], weights[0, 1, 1], weights[0, 2, 1] = 9, 5, 5
    priority = one_path(4, weights, temperature=0)
    assert drawn_shares(priority)[0, 0] == pytest.approx(1)
    inner = drawn_shares(priority, reach=0.3)
    assert (inner[1, 1], inner[2, 1]) == (pytest.approx(0.5), pytest.approx(0.5))


def test_saliency_may_be_off():
    priority = PriorityMap(1, cells=2, settings=PrioritySettings(saliency=False, radius=0.1))
    priority.begin(ROW, np.arange(4).reshape(1, 2, 2))
    assert (priority.priority(ROW) == 1).all()
    priority.fixate(ROW, np.array([[0.5, 0.5]]))
    assert priority.priority(ROW)[0].tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radios": 1}, r"priority has no settings \['radios'\]; it has \['saliency', 'radius'"),
        (["radius"], "priority must be a dict"),
        ([], "priority must be a dict"),
        ({"saliency": "off"}, "priority's saliency must be True or False, got 'off'"),
        ({"radius": -1}, "priority's radius must be a finite number at least 0, got -1"),
        ({"strength": 1.5}, "priority's strength must be a finite number at least 0 and at most 1, got 1.5"),
        ({"decay": None}, "priority's decay must be a finite number at least 0 and at most 1, got None"),
        ({"centre_bias": 0}, "priority's centre_bias must be a finite number above 0, got 0"),
        ({"temperature": float("inf")}, "priority's temperature must be a finite number at least 0, got inf"),
    ],
)
def test_bad_priority_settings(toy_images, options, message):
    with pytest.raises(ValueError, match=message):
        SaccadeWorld(toy_images, glimpse_size=8, priority=options)


def saliency_rollout(toy_images, seed=0, settings=PrioritySettings(radius=0.3)):  # noqa: B008 - it is frozen
    envs = SaccadeVectorEnv(toy_images, num_envs=4, glimpse_size=8, max_episode_steps=5, max_amplitude=2.0)
    agent = SaliencyAgent(
        PriorityMap(4, cells=20, settings=settings),
        None,
        reach=envs.world.reach,
        max_amplitude=envs.world.max_amplitude,
        rng=np.random.default_rng(seed),
    )
    return Rollout(envs, agent, seed)


def test_the_saliency_agent_never_returns_within_an_episode(toy_images):
    rollout = saliency_rollout(toy_images)
    paths = [[] for _ in range(4)]
    for _ in range(25):
        step = rollout.step()
        for b in range(4):
            if step.first[b]:
                paths[b] = []
            place = step.info["position"][b]
            if paths[b]:
                assert np.linalg.norm(np.array(paths[b]) - place, axis=1).min() > 0.2
            paths[b].append(place)


@pytest.mark.parametrize("settings", [PrioritySettings(radius=0.3), PrioritySettings(**FADING)])
def test_rollouts_mark_first_rows_and_restore(toy_images, settings):
    rollout = saliency_rollout(toy_images, settings=settings)
    steps = [rollout.step() for _ in range(8)]
    assert [bool(s.first[0]) for s in steps] == [True] + [False] * 5 + [True, False]
    state, rng_state = rollout.state(), rollout.agent._rng.bit_generator.state
    future = [rollout.step() for _ in range(9)]
    other = saliency_rollout(toy_images, seed=5, settings=settings)
    other.set_state(state)
    other.agent._rng.bit_generator.state = rng_state
    for expected in future:
        got = other.step()
        np.testing.assert_array_equal(got.glimpse, expected.glimpse)
        np.testing.assert_array_equal(got.motion, expected.motion)
        np.testing.assert_array_equal(got.first, expected.first)


def test_random_actions_fill_the_space(toy_images):
    actions = np.stack([RandomAgent(50, 3, np.random.default_rng(s)).act({}, {}) for s in range(20)])
    assert actions.shape == (20, 50, 3)
    assert np.abs(actions).max() <= 1
    np.testing.assert_allclose(np.histogram(actions, 4, (-1, 1))[0] / actions.size, 0.25, atol=0.03)


def test_a_rollout_refuses_other_autoreset_modes(toy_images):
    envs = SaccadeVectorEnv(toy_images, num_envs=2, glimpse_size=8, autoreset_mode="SameStep")
    with pytest.raises(ValueError, match="NextStep"):
        Rollout(envs, RandomAgent(2, 2, np.random.default_rng(0)), 0)


@pytest.mark.parametrize("options", [{}, {"saliency": False}, FADING, {"strength": 0}])
def test_the_viewer_shows_the_map_that_the_agent_goes_by(large_images, options, monkeypatch):
    shown = []

    def spy(*arguments, priority, **rest):
        shown.append(priority)
        return saccade_frame(*arguments, priority=priority, **rest)

    monkeypatch.setattr("glimpseworld.envs.display.saccade_frame", spy)
    priority = json.loads(json.dumps(options))
    envs = SaccadeVectorEnv(large_images, num_envs=2, max_episode_steps=4, render_mode="rgb_array", priority=priority)
    agent = make_agent("saliency", envs.world, 2, np.random.default_rng(0))
    observation, info = envs.reset(seed=0)
    for _ in range(12):
        actions = agent.act(observation, info)
        envs.simulator.frame(1)
        np.testing.assert_array_equal(shown[-1], agent.priority.priority(np.array([1]))[0])
        observation, *_, info = envs.step(actions)


def test_the_agent_aims_at_places_whatever_the_eye_makes_of_it(large_images):
    envs = SaccadeVectorEnv(
        large_images, num_envs=50, start="center", max_amplitude=2.0, oculomotor={"gain": 0.7, "scatter": 0.02}
    )
    agent = make_agent("saliency", envs.world, 50, np.random.default_rng(0))
    observation, info = envs.reset(seed=0)
    before = info["position"]
    *_, info = envs.step(agent.act(observation, info))
    cells = (before + info["motion_commanded"] + 1) * 24 - 0.5  # of 2 pixels
    np.testing.assert_allclose(cells, np.rint(cells), atol=1e-4)
    length = np.linalg.norm(info["motion_commanded"], axis=1)
    along = (info["motion_realised"] * info["motion_commanded"]).sum(axis=1) / length**2
    assert along.mean() == pytest.approx(0.7, abs=0.03)
    assert along.std() > 0.01
