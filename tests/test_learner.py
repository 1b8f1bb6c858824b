"""The training step: schedules, EMA, decay, clipping, the stop on a loss that is not finite, and restoring."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from glimpseworld.world_model.learner import Learner, LearnerConfig, LossNotFiniteError
from glimpseworld.world_model.objectives import Objective
from glimpseworld.world_model.replay import Windows
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig
from glimpseworld.world_model.views import normalize_views

SIZES = SeqJEPAConfig(
    size=16, z_dim=16, motion_dim=2, motion_embedding=8, layers=1, heads=2, dropout=0.1, predictor_hidden=16
)


def make_learner(seed=0, objective=None, **options):
    torch.manual_seed(seed)
    config = replace(SIZES, objective=objective or Objective.plus())
    return Learner(SeqJEPA(config), LearnerConfig(**{"total_steps": 100, "warmup_steps": 10, **options}))


def windows(seed=0, batch=8, context=2, targets=3):
    rng = np.random.default_rng(seed)
    return Windows(
        views=rng.integers(0, 256, (batch, context + targets, 16, 16, 3), dtype=np.uint8),
        motions=rng.normal(size=(batch, context - 1 + targets, 2)).astype(np.float32),
        context=context,
        env=np.zeros(batch, dtype=np.int64),
        episode=np.zeros(batch, dtype=np.int64),
        step=np.zeros((batch, context + targets), dtype=np.int64),
    )


def test_schedules_by_hand():
    config = LearnerConfig(
        total_steps=110,
        warmup_steps=10,
        learning_rate=1.0,
        initial_learning_rate=0.5,
        final_learning_rate=0.2,
        target_tau=0.9,
    )
    assert config.learning_rate_at(0) == 0.5
    assert config.learning_rate_at(5) == pytest.approx(0.75)
    assert config.learning_rate_at(10) == pytest.approx(1.0)
    assert config.learning_rate_at(60) == pytest.approx(0.6)  # half way down the cosine
    assert config.learning_rate_at(110) == pytest.approx(0.2)
    assert config.learning_rate_at(35) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert config.tau_at(0) == pytest.approx(0.9)
    assert config.tau_at(55) == pytest.approx(0.95)
    assert config.tau_at(110) == 1.0


def test_schedules_really_act():
    learner = make_learner(total_steps=20, warmup_steps=5, target_tau=0.5)
    seen = [learner.update(windows(i)) for i in range(20)]
    for step, metrics in enumerate(seen):
        assert metrics["learning_rate"] == learner.config.learning_rate_at(step)
        assert metrics["tau"] == learner.config.tau_at(step)
    assert learner.optimizer.param_groups[0]["lr"] == learner.config.learning_rate_at(19)
    assert seen[5]["learning_rate"] > seen[0]["learning_rate"]
    assert seen[19]["learning_rate"] < seen[5]["learning_rate"]


def test_a_learning_rate_of_zero_moves_nothing_but_the_target_follows_its_formula():
    learner = make_learner(learning_rate=0.0, initial_learning_rate=0.0, final_learning_rate=0.0, target_tau=0.75)
    model = learner.model
    with torch.no_grad():
        for p in model.target_encoder.parameters():
            p.zero_()
    online = {k: v.clone() for k, v in model.encoder.named_parameters()}
    learner.update(windows())
    for name, value in model.encoder.named_parameters():
        torch.testing.assert_close(value, online[name], rtol=0, atol=0)
        torch.testing.assert_close(model.target_encoder.get_parameter(name), 0.25 * value)
    for name, buffer in model.encoder.named_buffers():
        if name.endswith("running_mean"):
            torch.testing.assert_close(model.target_encoder.get_buffer(name), 0.25 * buffer)


def test_weight_decay_spares_biases_gains_and_the_agg_token():
    learner = make_learner()
    decayed, plain = learner.optimizer.param_groups
    assert decayed["weight_decay"] == LearnerConfig().weight_decay
    assert plain["weight_decay"] == 0
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert any(p is learner.model.aggregator.agg_token for p in plain["params"])
    count = sum(p.requires_grad for p in learner.model.parameters())
    assert len(decayed["params"]) + len(plain["params"]) == count


def test_a_schedule_shorter_than_its_warm_up_is_all_warm_up():
    config = LearnerConfig(total_steps=5, warmup_steps=10, learning_rate=1.0, initial_learning_rate=0.0)
    assert [config.learning_rate_at(step) for step in range(5)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_clipping_bounds_the_step():
    def sgd_step(clip):
        learner = make_learner(clip_norm=clip, initial_learning_rate=1.0)
        learner.optimizer = torch.optim.SGD(learner._trained, lr=1.0)
        before = [p.detach().clone() for p in learner._trained]
        rate = learner.config.learning_rate_at(0)
        metrics = learner.update(windows())
        moved = torch.cat([(p - b).flatten() for p, b in zip(learner._trained, before, strict=True)]).norm().item()
        return moved / rate, metrics["gradient_norm"]

    moved, norm = sgd_step(0.01)
    assert norm > 0.01
    assert moved == pytest.approx(0.01, rel=1e-2)
    moved, norm = sgd_step(0.0)
    assert moved == pytest.approx(norm, rel=1e-2)


def test_a_loss_that_is_not_finite_stops_before_the_step():
    learner = make_learner()
    learner.update(windows())
    with torch.no_grad():
        learner.model.predictor.output.weight[0, 0] = math.nan
    before = {k: v.clone() for k, v in learner.model.named_parameters()}
    with pytest.raises(LossNotFiniteError, match=r"loss is nan.*step 1.*Lower the learning rate"):
        learner.update(windows(1))
    assert learner.steps == 1
    for name, value in learner.model.named_parameters():
        torch.testing.assert_close(value, before[name], equal_nan=True, rtol=0, atol=0)


def test_restored_equals_uninterrupted():
    learner = make_learner()
    for i in range(4):
        learner.update(windows(i))
    arrays = {group: {k: v.copy() for k, v in a.items()} for group, a in learner.arrays().items()}
    rng = torch.get_rng_state()
    expected = [learner.update(windows(i)) for i in range(4, 8)]
    other = make_learner(seed=9)
    other.load_arrays(arrays, 4)
    torch.set_rng_state(rng)
    assert [other.update(windows(i)) for i in range(4, 8)] == expected
    for (name, a), b in zip(learner.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_learning_lowers_the_loss_of_a_learnable_stream():
    """One image, motions that say which of its views comes next: the prediction error has to fall."""
    learner = make_learner(objective=Objective(standardize_targets=True), learning_rate=3e-3, total_steps=120)
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (32, 5, 16, 16, 3), dtype=np.uint8)

    def batch():
        order = np.stack([rng.permutation(5)[:3] for _ in range(16)])
        scene = rng.integers(32, size=16)
        place = np.stack([order, order**2], axis=-1).astype(np.float32)
        template = windows(batch=16, context=2, targets=1)
        return template._replace(views=scenes[scene[:, None], order], motions=np.diff(place, axis=1))

    losses = [learner.update(batch())["loss"] for _ in range(120)]
    assert np.mean(losses[-20:]) < 0.75 * np.mean(losses[:20])


def test_views_are_normalised_with_channels_first():
    views = np.zeros((2, 3, 4, 5, 3), dtype=np.uint8)
    views[1, 2, 3, 4] = [0, 255, 128]
    out = normalize_views(views)
    assert out.shape == (2, 3, 3, 4, 5)
    assert out[1, 2, :, 3, 4].tolist() == pytest.approx([-2, 2, 128 / 255 * 4 - 2], abs=1e-6)
    with pytest.raises(ValueError, match="uint8"):
        normalize_views(views.astype(np.float32))


@pytest.mark.parametrize(
    "options",
    [
        {"total_steps": 0},
        {"warmup_steps": -1},
        {"learning_rate": -1},
        {"learning_rate": math.nan},
        {"weight_decay": math.inf},
        {"clip_norm": -1},
        {"target_tau": 1.5},
        {"precision": "half"},
    ],
)
def test_bad_settings(options):
    with pytest.raises(ValueError, match=r"must be|precision"):
        LearnerConfig(**options)


def test_bfloat16_trains_too():
    learner = make_learner(precision="bfloat16")
    assert learner.autocast
    assert math.isfinite(learner.update(windows())["loss"])
    assert all(p.dtype == torch.float32 for p in learner.model.parameters())


@pytest.mark.parametrize(("avx512", "amx"), [(False, False), (True, False), (False, True)])
def test_auto_takes_bfloat16_only_where_the_processor_computes_it(monkeypatch, avx512, amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert make_learner(precision="auto").autocast == (avx512 or amx)
