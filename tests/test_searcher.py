"""A search agent goes where the model predicts the target, covers the field, and works out where its borders are."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_motor_and_context import small_model
from torch.nn import functional as F
from toy_models import ToyModel

import glimpseworld.envs  # noqa: F401 - registers the ids
from glimpseworld.agents.class_reader import ClassReader
from glimpseworld.agents.motor import Motor
from glimpseworld.agents.searcher import ClassTarget, GlimpseTarget, SearchAgent, SearchConfig
from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.saccade import SaccadeWorld
from glimpseworld.experiments.control.class_readers import class_under, fit_place_reader

MOTOR = Motor("translation", (1.0, 1.0))
READER = ClassReader(8.0 * torch.eye(3), torch.zeros(3))
"""Of two classes and nothing, which are the first, second and third axis of embeddings."""


def shown_at(*targets):
    """A model that knows what is where, seen from the first view: class k within 0.25 of `targets[k]`, else nothing."""

    def foresee(z, motions, ahead):
        offset = z[:, -1:, :2] / 50 - 2.5 + ahead  # the view tells where it was taken: see `Eye`
        near = torch.stack([(offset - torch.tensor(t)).abs().amax(dim=-1) < 0.25 for t in targets], dim=-1).float()
        return torch.cat([near, 1 - near.amax(dim=-1, keepdim=True)], dim=-1)

    return ToyModel(3, foresee).eval()


class Eye:
    """B eyes whose views tell their positions from the first view, in a field of reach 1; `start` is where that was."""

    def __init__(self, agent, cue, start=((0.0, 0.0),)):
        self.agent, self.cue = agent, np.asarray(cue, np.float32)
        self.start = np.array(start)
        self.index, self.position = 0, self.start.copy()
        self.motion = np.zeros_like(self.start)

    def glimpse(self):
        glimpse = np.zeros((len(self.start), 4, 4, 1), np.uint8)
        glimpse[:, 0, :2, 0] = np.rint((self.position - self.start + 2.5) * 50)
        return glimpse

    def step(self):
        observation = {"glimpse": self.glimpse(), "motion": self.motion.astype(np.float32), "cue": self.cue}
        actions = self.agent.act(observation, {"step_index": np.full(len(self.start), self.index)})
        before = self.position
        self.position = (before + actions).clip(-1, 1)
        self.motion, self.index = self.position - before, self.index + 1
        return actions


def searcher(model, count=1, reader=READER, **settings):
    return SearchAgent(model, MOTOR, ClassTarget(reader), count, config=SearchConfig(**settings))


def test_it_goes_where_the_cued_class_is_predicted():
    model = shown_at((0.6, -0.45), (-0.6, 0.3))
    eye = Eye(searcher(model, 2), [[1, 0], [0, 1]], [(0, 0), (0.2, 0.1)])
    actions = eye.step()
    assert np.abs(actions - [(0.6, -0.45), (-0.6, 0.3)]).max() <= 0.25
    probability = eye.agent.belief()
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(2))
    near = (eye.agent.places - torch.tensor([0.6, -0.45])).abs().amax(dim=1) < 0.25
    assert probability[0, near].sum() > 0.5


def test_what_it_has_looked_at_is_not_looked_at_again():
    """The model is wrong: nothing is found at (0.6, 0), and the second look goes elsewhere."""
    eye = Eye(searcher(shown_at((0.6, 0.0), (9.0, 9.0))), [[1, 0]])
    seen = [eye.position[0].copy()]
    for _ in range(8):
        eye.step()
        seen.append(eye.position[0].copy())
    assert np.abs(seen[1] - [0.6, 0]).max() <= 0.25
    apart = np.abs(np.array(seen)[:, None] - np.array(seen)).max(axis=-1) + 9 * np.eye(9)
    assert apart.min() > 0.2


def test_where_success_does_not_end_the_episode_it_stays():
    """The model foresees nothing, and what is seen at (0.6, 0) is the target."""
    eye = Eye(searcher(shown_at((0.6, 0.0), (9.0, 9.0)), ends=False), [[1, 0]])

    eye.glimpse = lambda: np.where(
        np.abs(eye.position[0] - [0.6, 0]).max() < 0.25, np.uint8([200, 0, 0, 0]), np.uint8([0, 0, 200, 0])
    )[None, None, :, None].repeat(4, 1)
    eye.agent.context.model.foresee = lambda z, motions, ahead: torch.ones(*ahead.shape[:2], 3)  # knows nothing
    for _ in range(20):
        eye.step()
    assert np.abs(eye.position[0] - [0.6, 0]).max() < 0.3


@pytest.mark.parametrize("ends", [True, False])
def test_without_predictions_it_covers_the_field(ends):
    agent = searcher(shown_at((0.6, 0.0), (0.0, 0.6)), sharpness=0.0, radius=0.3, ends=ends)
    eye = Eye(agent, [[1, 0]], [(0.8, -0.9)])
    seen = [eye.position[0].copy()]
    for _ in range(24):
        eye.step()
        seen.append(eye.position[0].copy())
    grid = np.stack(np.meshgrid(*[np.linspace(-0.95, 0.95, 20)] * 2), axis=-1).reshape(-1, 2)
    covered = (np.abs(grid[:, None] - np.array(seen)).max(axis=-1) < 0.31).any(axis=1)
    assert covered.mean() > 0.9


def test_it_works_out_where_the_field_ends():
    """Having begun at (0.8, 0): a saccade 1 to the right stops after 0.2, so what is further right is no place."""
    agent = searcher(shown_at((9.0, 9.0), (9.0, 9.0)), sharpness=0.0)
    eye = Eye(agent, [[1, 0]], [(0.8, 0.0)])
    eye.step()
    before = agent.belief()[0]
    agent._commanded[:] = torch.tensor([1.0, 0.0])
    eye.position, eye.motion = np.array([[1.0, 0.0]]), np.array([[0.2, 0.0]])
    eye.step()
    after = agent.belief()[0]
    right = agent.places[:, 0] > 0.3
    left = agent.places[:, 0] < -1.9
    assert before[right].sum() > 0.2 and after[right].sum() < 1e-6 and after[left].sum() < 1e-6
    assert (after[(agent.places[:, 0] > -1.7) & (agent.places[:, 0] < -1)]).sum() > 0.1


def test_a_glimpse_is_a_target_too():
    """The cue is a view like class 1's axis."""
    model = shown_at((0.6, -0.45), (-0.6, 0.3))
    cue = np.zeros((1, 4, 4, 1), np.uint8)
    cue[0, 0, 1] = 200
    agent = SearchAgent(model, MOTOR, GlimpseTarget(model), 1)
    eye = Eye(agent, cue)
    eye.cue = cue
    assert np.abs(eye.step()[0] - [-0.6, 0.3]).max() <= 0.25


def test_rows_go_their_own_ways():
    model = shown_at((0.6, -0.45), (-0.6, 0.3))
    together = Eye(searcher(model, 2), [[1, 0], [0, 1]], [(0, 0), (0.2, 0.1)])
    alone = Eye(searcher(model, 1), [[0, 1]], [(0.2, 0.1)])
    for _ in range(4):
        np.testing.assert_allclose(together.step()[1:], alone.step(), atol=1e-6)


def test_a_restored_agent_goes_on_as_it_would_have():
    model = shown_at((0.6, -0.45), (-0.6, 0.3))
    one = Eye(searcher(model), [[1, 0]])
    for _ in range(3):
        one.step()
    other = Eye(searcher(model), [[1, 0]])
    other.agent.set_state(one.agent.state())
    other.index, other.position, other.motion = one.index, one.position, one.motion
    for _ in range(2):
        np.testing.assert_array_equal(one.step(), other.step())


def test_it_plays_the_task():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 48, 48, 3), dtype=np.uint8)
    boxes = np.tile([10, 10, 30, 30], (6, 1))
    images = ImageSet(pixels, np.arange(6) % 3, ("a", "b", "c"), boxes=boxes)
    kwargs = {"images": images, "glimpse_size": 16, "max_episode_steps": 3}
    envs = gym.make_vec("GlimpseWorld/SaccadeSearch-v0", 2, vectorization_mode="vector_entry_point", **kwargs)
    reader = ClassReader(torch.randn(4, 32), torch.zeros(4))
    agent = SearchAgent(small_model(2), MOTOR, ClassTarget(reader), 2)
    observation, info = envs.reset(seed=0)
    for _ in range(6):
        actions = agent.act(observation, info)
        assert actions.shape == (2, 2) and np.abs(actions).max() <= 1
        observation, _, _, _, info = envs.step(actions)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SearchConfig(radius=0.0), "lengths must be above 0"),
        (lambda: GlimpseTarget(small_model(2), 0.0), "temperature must be above 0"),
        (lambda: ClassTarget(READER).wanted(np.zeros((2, 5))), "the reader knows 3 classes"),
        (lambda: ClassTarget(READER).wanted(np.zeros((2, 4, 4, 3))), 'cue="class"'),
        (lambda: GlimpseTarget(small_model(2)).wanted(np.zeros((2, 5))), 'cue="glimpse"'),
        (lambda: SearchAgent(small_model(4), Motor("rotation", (1.0,)), ClassTarget(READER), 1), "without zoom"),
    ],
)
def test_what_cannot_search_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_lies_under_a_fixation_is_the_box_with_the_nearest_middle():
    boxes = np.array([[[0.0, 0.0, 0.4, 0.4], [0.2, 0.0, 0.8, 0.4]]])
    positions = np.array([[[0.1, 0.1], [0.3, 0.2], [0.38, 0.2], [0.7, 0.4], [0.7, 0.5]]])
    assert class_under(positions, boxes, np.array([[5, 6]]), nothing=9).tolist() == [[5, 5, 6, 6, 9]]


def test_a_reader_of_places_knows_objects_from_ground():
    """Red squares of class 0 and blue ones of class 1 on black, read by a model that sees the middle pixels."""
    rng = np.random.default_rng(0)
    pixels, boxes = np.zeros((40, 32, 32, 3), np.uint8), np.zeros((40, 4), np.int64)
    for i in range(40):
        x, y = rng.integers(4, 16, 2)
        pixels[i, y : y + 12, x : x + 12, 2 * (i % 2)] = 200
        boxes[i] = x, y, x + 12, y + 12
    world = SaccadeWorld(ImageSet(pixels, np.arange(40) % 2, ("red", "blue"), boxes=boxes), glimpse_size=4, reach=0.9)
    model = ToyModel(3, lambda z, motions, ahead: z).eval()
    model.as_target = lambda z: z + torch.tensor([0.0, 1.0, 0.0])
    reader = fit_place_reader(model, world, world, foreseen=False, images=40, views=12)
    views = F.normalize(torch.tensor([[200.0, 1, 0], [0, 1, 200], [0, 1, 0]]), dim=-1)
    assert reader.logs(views).argmax(dim=1).tolist() == [0, 1, 2]
    # This model predicts that it will see what it sees, which tells nothing of another place but what is usual.
    model.foresee = lambda z, motions, ahead: z[:, -1:].expand(*ahead.shape[:2], 3) + torch.tensor([0.0, 1.0, 0.0])
    blind = fit_place_reader(model, world, world, images=40, views=12)
    assert blind.logs(views)[:, 2].exp().min() > 0.2 and blind.logs(views).exp().amax() < 0.85
    with pytest.raises(ValueError, match="images with boxes"):
        fit_place_reader(model, SaccadeWorld(ImageSet(pixels, np.arange(40) % 2, ("red", "blue"))), world)
