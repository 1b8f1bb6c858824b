"""The path memory: paths by hand, what a question may see, that vision is left alone, and that it integrates."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from glimpseworld.world_model.learner import Learner, LearnerConfig
from glimpseworld.world_model.memory import MemoryConfig, PathMemory
from glimpseworld.world_model.motion import compose, inverse, relative
from glimpseworld.world_model.objectives import Objective
from glimpseworld.world_model.paths import draw_paths, window_poses
from glimpseworld.world_model.replay import Windows, window_motions
from glimpseworld.world_model.seq_jepa import PathBatch, SeqJEPA, SeqJEPAConfig

SIZES = SeqJEPAConfig(size=16, z_dim=16, motion_dim=2, motion_embedding=8, layers=1, heads=2, predictor_hidden=16)
REMEMBERS = replace(SIZES, memory=MemoryConfig(layers=1, heads=2, longest=6, hidden=16))


def windows(kind="translation", batch=8, context=2, targets=3, seed=0):
    rng = np.random.default_rng(seed)
    held = context + targets
    if kind == "translation":
        poses = rng.uniform(-1, 1, (batch, held, 2))
    else:
        poses = rng.normal(size=(batch, held, 4))
        poses /= np.linalg.norm(poses, axis=-1, keepdims=True)
    views = rng.integers(0, 256, (batch, held, 16, 16, 3), dtype=np.uint8)
    zeros = np.zeros(batch, np.int64)
    motions = window_motions(kind, poses, context)
    return Windows(views, motions, context, zeros, zeros, np.zeros((batch, held), np.int64)), poses


@pytest.mark.parametrize("kind", ["translation", "rotation"])
def test_poses_of_a_window_follow_from_its_motions(kind):
    batch, poses = windows(kind)
    found = window_poses(kind, batch)
    expected = relative(kind, poses[:, :1], poses)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)


@pytest.mark.parametrize("kind", ["translation", "rotation"])
@pytest.mark.parametrize("swapped", [0.0, 1.0])
def test_the_motion_back_undoes_the_path(kind, swapped):
    batch, _ = windows(kind)
    paths = draw_paths(batch, kind, 40, longest=4, swapped=swapped, generator=np.random.default_rng(1))
    assert paths.views.shape == (40, 4)
    assert paths.motions.shape == paths.motions_back.shape == (40, 3, 4 if kind == "rotation" else 2)
    assert all((paths.places_back[:, i] <= i).all() for i in range(3))
    for p in range(40):
        for i in range(3):
            walked = paths.motions[p, paths.places_back[p, i]]
            for step in paths.motions[p, paths.places_back[p, i] + 1 : i + 1]:
                walked = compose(kind, walked, step)
            np.testing.assert_allclose(paths.motions_back[p, i], inverse(kind, walked), atol=1e-4)
    own = paths.views // 5 == (np.arange(40) % 8)[:, None]
    assert own.all() == (swapped == 0)
    assert all(len(set(row)) == 4 for row in paths.views)


def test_own_views_stand_where_they_were_seen():
    batch, _ = windows()
    paths = draw_paths(batch, "translation", 8, longest=9, swapped=0.0, generator=np.random.default_rng(2))
    poses = window_poses("translation", batch).reshape(-1, 2)
    assert paths.views.shape == (8, 5)
    np.testing.assert_allclose(paths.motions, np.diff(poses[paths.views], axis=1), atol=1e-6)


@pytest.mark.parametrize("options", [{"count": 0}, {"longest": 1}, {"swapped": 1.5}])
def test_impossible_paths_are_refused(options):
    arguments = {"count": 4, "longest": 4, "swapped": 1.0, **options}
    with pytest.raises(ValueError, match=f"{next(iter(options))} {next(iter(options.values()))}"):
        draw_paths(windows()[0], "translation", generator=np.random.default_rng(0), **arguments)


def test_a_question_sees_the_views_before_it_and_nothing_else():
    torch.manual_seed(0)
    memory = PathMemory(REMEMBERS.memory, 16, 2, 8).eval()
    z, motions, questions = torch.randn(3, 5, 16), torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    seen = torch.tensor([2, 3, 3, 5])
    answers = memory(z, motions, questions, seen)
    for i, length in enumerate(seen.tolist()):
        alone = memory(z[:, :length], motions[:, : length - 1], questions[:, i : i + 1], seen[i : i + 1])
        torch.testing.assert_close(answers[:, i], alone[:, 0], atol=1e-5, rtol=1e-4)
    later = z.clone()
    later[:, 3] += 1
    changed = memory(later, motions, questions, seen)
    torch.testing.assert_close(changed[:, :3], answers[:, :3])
    assert not torch.allclose(changed[:, 3], answers[:, 3])


@pytest.mark.parametrize("target_encoder", ["ema", "online"])
def test_the_memory_leaves_sight_alone(target_encoder):
    """Encoder, aggregator and predictor take the very same steps with a path memory and without."""
    learners = []
    for config in (SIZES, REMEMBERS):
        torch.manual_seed(0)
        settings = {"objective": Objective.predictive(), "target_encoder": target_encoder}
        model = SeqJEPA(replace(config, dropout=0.0, **settings))
        learner = Learner(model, LearnerConfig(total_steps=20, warmup_steps=2, clip_norm=0.1))
        for step in range(4):
            batch, _ = windows(seed=step)
            paths = None
            if model.memory is not None:
                paths = draw_paths(
                    batch, "translation", 16, longest=6, swapped=0.5, generator=np.random.default_rng(step)
                )
            learner.update(batch, paths)
        learners.append(learner)
    plain, remembers = (learner.model.state_dict() for learner in learners)
    assert all(torch.equal(value, remembers[key]) for key, value in plain.items())
    assert any(key.startswith("memory.") for key in remembers)


def test_it_learns_where_a_path_leads_back_to():
    """Views say nothing of their places, so that three of them are told apart by the path alone."""
    torch.manual_seed(0)
    memory = PathMemory(MemoryConfig(layers=2, heads=2, longest=3, hidden=64), 16, 2, 16)
    optimizer = torch.optim.AdamW(memory.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    seen = torch.tensor([3])

    def draw(count):
        z = torch.randn(count, 3, 16, generator=generator)
        poses = torch.rand(count, 3, 2, generator=generator) * 2 - 1
        back = torch.randint(2, (count,), generator=generator)
        rows = torch.arange(count)
        return z, poses[:, 1:] - poses[:, :-1], (poses[rows, back] - poses[:, 2])[:, None], back

    for _ in range(250):
        z, motions, question, back = draw(128)
        recalled = memory(z, motions, question, seen)[:, 0]
        loss = 1 - torch.cosine_similarity(recalled, z[torch.arange(128), back]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    memory.eval()
    z, motions, question, back = draw(1000)

    def right(motions, question):
        with torch.no_grad():
            recalled = memory(z, motions, question, seen)
        return (torch.cosine_similarity(recalled, z[:, :2], dim=-1).argmax(1) == back).float().mean()

    assert right(motions, question) > 0.72
    assert right(motions.flip(0), question) < 0.58


def test_recall_standardises_and_asks_of_all_views():
    torch.manual_seed(0)
    model = SeqJEPA(REMEMBERS).eval()
    model.target_statistics.mean += 3
    z, motions, back = torch.randn(4, 3, 16), torch.randn(4, 2, 2), torch.randn(4, 5, 2)
    assert model.recall(z, motions, back).shape == (4, 5, 16)
    torch.testing.assert_close(model.recall(z, motions, back[:, 1]), model.recall(z, motions, back)[:, 1])
    assert model.memory is not None
    torch.testing.assert_close(
        model.recall(z, motions, back[:, :1]), model.memory(z - 3, motions, back[:, :1], torch.tensor([3]))
    )


def test_what_cannot_be_recalled_is_told():
    model = SeqJEPA(REMEMBERS).eval()
    with pytest.raises(ValueError, match=r"holds 6 views, got 7: raise memory\.longest"):
        model.recall(torch.zeros(1, 7, 16), torch.zeros(1, 6, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="motion back"):
        model.recall(torch.zeros(1, 3, 16), torch.zeros(1, 2, 2), torch.zeros(1, 3))
    for ask in (
        lambda: SeqJEPA(SIZES).recall(torch.zeros(1, 3, 16), torch.zeros(1, 2, 2), torch.zeros(1, 2)),
        lambda: SeqJEPA(SIZES)(
            torch.zeros(2, 3, 3, 16, 16), torch.zeros(2, 2, 2), paths=PathBatch(*[torch.zeros(0)] * 4)
        ),
    ):
        with pytest.raises(ValueError, match="no path memory"):
            ask()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MemoryConfig(layers=-1), "layers >= 0"),
        (lambda: MemoryConfig(longest=4), "have no effect"),
        (lambda: SeqJEPA(replace(REMEMBERS, memory=MemoryConfig(layers=1, heads=5))), "24 entries.*5 heads"),
        (lambda: replace(REMEMBERS, motion_dim=0), "integrates motions"),
    ],
)
def test_impossible_memories_say_what_to_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_config_goes_through_json():
    assert SeqJEPAConfig.from_dict(REMEMBERS.to_dict()) == REMEMBERS
