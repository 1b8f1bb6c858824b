import dataclasses
import functools
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from glimpseworld.world_model.aggregator import MotionEmbedding
from glimpseworld.world_model.encoder import SmallCNN, build_encoder, resnet18
from glimpseworld.world_model.objectives import Objective
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

GOLDEN = Path(__file__).parent / "golden"
golden_state_dict = runpy.run_path(str(GOLDEN / "weights.py"))["golden_state_dict"]
SHAPES = json.loads((GOLDEN / "shapes.json").read_text())

SMALL = SeqJEPAConfig(size=8, z_dim=12, motion_embedding=4, layers=2, heads=4, predictor_hidden=16, dropout=0.2)
B, M, K, H, A = 3, 4, 5, 3, SMALL.motion_dim
CONDITIONS = ("both", "aggregator", "predictor", "none")


def make_model(seed=0, **changes):
    """A small model in eval mode, with BatchNorm statistics such as a little training leaves behind."""
    torch.manual_seed(seed)
    model = SeqJEPA(dataclasses.replace(SMALL, **changes))
    with torch.no_grad():
        model.aggregator.agg_token.normal_()
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.uniform_(-0.2, 0.2)
            elif name.endswith("running_var"):
                buffer.uniform_(0.1, 0.4)
    return model.eval()


def make_window(seed=1, targets=1, batch=B, context=M):
    generator = torch.Generator().manual_seed(seed)
    views = torch.randn(batch, context + targets, 3, 8, 8, generator=generator)
    return views, torch.randn(batch, context - 1 + targets, A, generator=generator)


@functools.cache
def golden_weights(case):
    return golden_state_dict(SHAPES[case])


@pytest.mark.parametrize("case", list(SHAPES))
def test_published_model_agrees(case):
    golden = np.load(GOLDEN / f"{case}.npz")
    model = SeqJEPA.from_reference(golden_weights(case)).eval()
    if "fixations_rc" in golden:
        motions = np.diff(golden["fixations_rc"], axis=1)
    else:
        motions = golden["relative_quaternion_xyzw"]
    output = model(torch.from_numpy(golden["views"]), torch.from_numpy(motions))
    ours = {"loss": output.loss, "z_agg": output.z_agg, "z_1": output.z[:, 0], "z_2": output.z[:, 1]}
    ours["z_target"] = output.target
    assert model.config.condition == ("none" if "unconditioned" in case else "both")
    for name in set(ours) & set(golden):
        np.testing.assert_allclose(ours[name].detach().numpy(), golden[name], atol=1e-4, rtol=0, err_msg=name)


def test_reference_keys_may_have_the_prefix_of_data_parallel_and_must_be_complete():
    weights = dict(golden_weights("rotation_m3_unconditioned"))
    model = SeqJEPA.from_reference({f"module.{key}": value for key, value in weights.items()}, heads=8)
    torch.testing.assert_close(model.predictor.output.bias, weights["predictor.3.bias"])
    assert model.config.heads == 8
    del weights["encoder.bn1.weight"]
    weights["extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"missing \['encoder.bn1.weight'\], unexpected \['extra'\]"):
        SeqJEPA.from_reference(weights)
    with pytest.raises(ValueError, match=r"missing \['encoder.conv1.weight'"):
        SeqJEPA.from_reference({"weight": torch.zeros(1)})


@pytest.mark.parametrize("condition", CONDITIONS)
def test_verbs_have_the_shapes_they_say(condition):
    model = make_model(condition=condition)
    views, motions = make_window()
    z = model.encode(views)
    z_agg = model.aggregate(z[:, :M], motions[:, : M - 1])
    width = 16 if condition in ("both", "aggregator") else 12
    assert z.shape == model.encode_target(views).shape == (B, M + 1, 12)
    assert z_agg.shape == (B, width)
    assert model.predict(z_agg, motions[:, -1]).shape == (B, 12)
    assert model.predict(z_agg, torch.zeros(B, K, A)).shape == (B, K, 12)
    assert model.rollout(z[:, :M], motions[:, : M - 1], torch.zeros(B, K, H, A)).shape == (B, K, H, 12)


@pytest.mark.parametrize("objective", [Objective.paper(), Objective.plus()])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_k_targets_equal_k_forwards(condition, objective):
    model = make_model(condition=condition, objective=objective)
    model.target_statistics.observe(torch.randn(32, 12, generator=torch.Generator().manual_seed(2)) * 2 + 1)
    views, motions = make_window(targets=K)
    together = model(views, motions, num_targets=K)
    cosines = []
    for k in range(K):
        keep_views, keep_motions = [*range(M), M + k], [*range(M - 1), M - 1 + k]
        alone = model(views[:, keep_views], motions[:, keep_motions])
        torch.testing.assert_close(alone.prediction, together.prediction[:, k])
        torch.testing.assert_close(alone.target, together.target[:, k])
        torch.testing.assert_close(alone.z_agg, together.z_agg)
        cosines.append(alone.terms["cosine"])
    torch.testing.assert_close(torch.stack(cosines).mean(), together.terms["cosine"])


def test_model_without_motions_takes_any():
    model = make_model(motion_dim=0)
    views, motions = make_window()
    assert model.motion_embedding is None
    assert torch.equal(model(views, motions).prediction, model(views, motions[..., :0]).prediction)


def test_forward_is_its_verbs():
    model = make_model()
    views, motions = make_window()
    output = model(views, motions)
    z = model.encode(views[:, :M])
    z_agg = model.aggregate(z, motions[:, : M - 1])
    torch.testing.assert_close(output.z_agg, z_agg)
    torch.testing.assert_close(output.prediction, model.predict(z_agg, motions[:, -1]))
    torch.testing.assert_close(output.target, model.as_target(model.encode_target(views[:, M:]))[:, 0])


def test_order_enters_through_the_motions_alone():
    model = make_model()
    views, motions = make_window(context=M)
    z = model.encode(views[:, :M])
    order = [2, 0, 1]  # pairs (view, motion) of all but the last view, which has none
    z_agg = model.aggregate(z, motions[:, : M - 1])
    torch.testing.assert_close(model.aggregate(z[:, [*order, M - 1]], motions[:, order]), z_agg)
    assert (model.aggregate(z, motions[:, order]) - z_agg).abs().max() > 1e-3
    assert (model.aggregate(z[:, [0, 1, 3, 2]], motions[:, : M - 1]) - z_agg).abs().max() > 1e-3


@pytest.mark.parametrize("condition", CONDITIONS)
def test_condition_decides_who_sees_motions(condition):
    model = make_model(condition=condition)
    views, motions = make_window(targets=2)
    moved_before, moved_last = motions.clone(), motions.clone()
    moved_before[:, : M - 1] += 1
    moved_last[:, M - 1 :] += 1
    base = model(views, motions, num_targets=2)
    before, last = model(views, moved_before, num_targets=2), model(views, moved_last, num_targets=2)
    assert torch.equal(base.z_agg, last.z_agg)
    assert torch.equal(base.z_agg, before.z_agg) == (condition in ("predictor", "none"))
    assert torch.equal(base.prediction, last.prediction) == (condition in ("aggregator", "none"))
    assert torch.equal(base.prediction[:, 0], base.prediction[:, 1]) == (condition in ("aggregator", "none"))


def test_motions_are_normalised_over_real_ones_in_one_call():
    model = make_model().train()
    seen = []
    norm = model.motion_embedding.norm
    norm.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    views, motions = make_window(targets=K)
    model(views, motions, num_targets=K)
    assert seen == [(B * (M - 1 + K), 4)]
    embedded = MotionEmbedding(A, 4)(motions).flatten(0, 1)
    torch.testing.assert_close(embedded.mean(0), torch.zeros(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_one_view_is_context_enough(condition):
    model = make_model(condition=condition).train()
    views, motions = make_window(targets=K, context=1)
    output = model(views, motions, num_targets=K)
    output.loss.backward()
    assert output.z.shape == (B, 1, 12)
    z_agg = model.eval().aggregate(output.z, motions[:, :0])
    assert model.rollout(output.z, motions[:, :0], motions[:, None, :2]).shape == (B, 1, 2, 12)
    assert z_agg.shape == output.z_agg.shape


@pytest.mark.parametrize("condition", CONDITIONS)
def test_rollout_of_one_step_is_predict_and_candidates_do_not_mix(condition):
    model = make_model(condition=condition)
    views, motions = make_window()
    z, past = model.encode(views[:, :M]), motions[:, : M - 1]
    future = torch.randn(B, K, H, A, generator=torch.Generator().manual_seed(3))
    futures = model.rollout(z, past, future)
    one_step = model.rollout(z, past, future[:, :, :1])[:, :, 0]
    torch.testing.assert_close(one_step, model.predict(model.aggregate(z, past), future[:, :, 0]))
    torch.testing.assert_close(futures[:, :, 0], one_step)
    changed = future.clone()
    changed[:, 1:] += 1
    torch.testing.assert_close(model.rollout(z, past, changed)[:, 0], futures[:, 0])
    torch.testing.assert_close(model.rollout(z, past, future[:, 2:3])[:, 0], futures[:, 2])
    torch.testing.assert_close(model.rollout(z[1:2], past[1:2], future[1:2]), futures[1:2])
    changed = future.clone()
    changed[:, :, -1] += 1
    torch.testing.assert_close(model.rollout(z, past, changed)[:, :, :-1], futures[:, :, :-1])


@pytest.mark.parametrize("condition", ["both", "aggregator", "predictor"])
def test_rollout_feeds_predictions_back_as_tokens(condition):
    model = make_model(condition=condition, objective=Objective.plus())
    model.target_statistics.observe(torch.randn(32, 12, generator=torch.Generator().manual_seed(2)) * 2 + 1)
    views, motions = make_window()
    z, past = model.encode(views[:, :M]), motions[:, : M - 1]
    future = torch.randn(B, 1, 2, A, generator=torch.Generator().manual_seed(3))
    first = model.predict(model.aggregate(z, past), future[:, 0, 0])
    tokens = torch.cat([z, model.as_token(first)[:, None]], dim=1)
    z_agg = model.aggregate(tokens, torch.cat([past, future[:, 0, :1]], dim=1))
    torch.testing.assert_close(model.rollout(z, past, future)[:, 0, 1], model.predict(z_agg, future[:, 0, 1]))


def test_target_moves_by_ema_with_its_buffers():
    model = make_model()
    online, target = model.encoder, model.target_encoder
    with torch.no_grad():
        for p in online.parameters():
            p.fill_(2.0)
        for p in target.parameters():
            p.fill_(1.0)
        online.convolutions[1].running_mean.fill_(4.0)
        target.convolutions[1].running_mean.fill_(0.0)
        online.convolutions[1].num_batches_tracked.fill_(7)
    model.update_target(0.75)
    assert all(torch.equal(p, torch.full_like(p, 1.25)) for p in target.parameters())
    assert all(torch.equal(p, torch.full_like(p, 2.0)) for p in online.parameters())
    assert torch.equal(target.convolutions[1].running_mean, torch.full((32,), 1.0))
    assert target.convolutions[1].num_batches_tracked.item() == 7
    model.update_target(1.0)
    assert all(torch.equal(p, torch.full_like(p, 1.25)) for p in target.parameters())
    model.update_target(0.0)
    views, _ = make_window()
    torch.testing.assert_close(model.encode_target(views), model.encode(views))
    with pytest.raises(ValueError, match="tau"):
        model.update_target(1.5)


def test_target_gets_no_gradient_and_training_leaves_its_statistics_alone():
    model = make_model(objective=Objective.plus())
    before = {k: v.clone() for k, v in model.target_encoder.state_dict().items() if "running" in k}
    model.train()
    views, motions = make_window(targets=K)
    output = model(views, motions, num_targets=K)
    output.loss.backward()
    assert not output.target.requires_grad
    assert all(p.grad is None for p in model.target_encoder.parameters())
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("target_encoder"))
    after = model.target_encoder.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_target_uses_batch_statistics_in_training_and_averaged_ones_in_eval():
    model = make_model()
    views, _ = make_window()
    evaluated = model.encode_target(views)
    torch.testing.assert_close(model.encode_target(views[:1]), evaluated[:1])
    trained = model.train().encode_target(views)
    assert (model.encode_target(views[:1]) - trained[:1]).abs().max() > 1e-3
    torch.testing.assert_close(model.eval().encode_target(views), evaluated)


def test_standardised_targets_in_training_and_statistics_for_later():
    model = make_model(objective=Objective.plus()).train()
    views, motions = make_window(targets=K, batch=16)
    raw = model.encode_target(views[:, M:])
    target = model(views, motions, num_targets=K).target
    torch.testing.assert_close(target.mean((0, 1)), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(model.as_target(raw), target, atol=1e-4, rtol=1e-4)
    target = model(views * 3 + 1, motions, num_targets=K).target  # by this batch, not by the running averages
    torch.testing.assert_close(target.mean((0, 1)), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(target.square().mean((0, 1)), torch.ones(12), atol=1e-3, rtol=0)
    assert (model.eval().as_target(raw) - target).abs().max() > 0.1
    model(views, motions, num_targets=K)
    assert model.target_statistics.batches == 2


def test_loss_is_zero_for_the_true_target_and_falls_in_training():
    model = make_model(dropout=0.0, objective=Objective.paper()).train()
    views, motions = make_window(batch=16)
    output = model(views, motions)
    assert model.config.objective(output.target, output.target, output.z)[0].item() == pytest.approx(0, abs=1e-6)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        loss = model(views, motions).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * output.loss.item()


def test_config_goes_through_json():
    config = dataclasses.replace(SMALL, condition="predictor", objective=Objective.plus())
    assert SeqJEPAConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match=r"SeqJEPAConfig has no settings \['depth'\]"):
        SeqJEPAConfig.from_dict({**config.to_dict(), "depth": 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": "some"}, "condition must be one of"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"motion_dim": -1}, "motion_dim"),
        ({"motion_kind": "rotation", "motion_dim": 2}, "quaternion"),
        ({"dropout": 1.0}, "dropout is a probability"),
        ({"heads": 5}, "cannot be split over 5 heads"),
        ({"size": None}, "fixed view size"),
        ({"encoder": "resnet18"}, "z_dim=512"),
        ({"encoder": "vit"}, "encoder must be one of"),
    ],
)
def test_impossible_configs_say_what_to_do(changes, message):
    with pytest.raises(ValueError, match=message):
        SeqJEPA(dataclasses.replace(SMALL, **changes))


def test_mismatched_shapes_are_told():
    model = make_model()
    views, motions = make_window()
    z = model.encode(views[:, :M])
    with pytest.raises(ValueError, match=r"motions .* must be \(3, 4, 4\), got \(3, 3, 4\)"):
        model(views, motions[:, 1:])
    with pytest.raises(ValueError, match="M >= 1 context views"):
        model(views, motions, num_targets=M + 1)
    with pytest.raises(ValueError, match=r"views must be \(B, T, 3, 8, 8\)"):
        model.encode(views[..., :4])
    with pytest.raises(TypeError, match="floating point"):
        model.encode(views.to(torch.uint8))
    with pytest.raises(ValueError, match="motions between the views"):
        model.aggregate(z, motions)
    with pytest.raises(ValueError, match="z must be"):
        model.aggregate(z[..., 1:], motions[:, : M - 1])
    with pytest.raises(ValueError, match="z_agg must be"):
        model.predict(z[:, 0], motions[:, 0])
    with pytest.raises(ValueError, match="motion to the target"):
        model.predict(torch.zeros(B, 16), motions[:, 0, :2])
    with pytest.raises(ValueError, match="future_motions must be"):
        model.rollout(z, motions[:, : M - 1], motions)
    with pytest.raises(ValueError, match="batch of at least 2"):
        model.train()(views[:1], motions[:1])


@pytest.mark.parametrize(("size", "millions"), [(32, 0.31), (64, 0.46)])
def test_small_cnn_sizes(size, millions):
    encoder = SmallCNN(size)
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.015)
    assert encoder.linear.in_features == 128 * 2 * 2
    assert encoder(torch.zeros(2, 3, size, size)).shape == (2, 128)


@pytest.mark.parametrize("size", [4, 15, 24, 48])
def test_small_cnn_takes_any_size(size):
    assert SmallCNN(size, in_channels=1, z_dim=10, width=4)(torch.zeros(2, 1, size, size)).shape == (2, 10)


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_resnet_blocks_start_as_their_skips(stem):
    encoder = resnet18(stem, in_channels=1).eval()
    views = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    x = encoder.pool(torch.relu(encoder.bn1(encoder.conv1(views))))
    assert x.shape[-1] == (8 if stem == "imagenet" else 32)
    assert torch.equal(encoder.layer1(x), x)
    assert encoder(views).shape == (2, 512)
    assert build_encoder("resnet18-cifar", size=None, in_channels=1, z_dim=512).conv1.stride == (1, 1)


def test_a_deeper_predictor_shares_its_context_as_one_layer_does():
    """K motions at once equal K calls; a layer of zeros leaves the bias of the output alone."""
    model = make_model(predictor_layers=3)
    z, motions = torch.randn(B, M, 12), torch.randn(B, M - 1, A)
    ahead = torch.randn(B, K, A)
    together = model.predict_from(z, motions, ahead)
    for k in range(K):
        torch.testing.assert_close(together[:, k], model.predict_from(z, motions, ahead[:, k]))
    assert len([part for part in model.predictor.further if isinstance(part, torch.nn.Linear)]) == 2
    with torch.no_grad():
        model.predictor.further[0].weight.zero_()
        model.predictor.further[1].running_mean.zero_()
        model.predictor.further[3].weight.zero_()
        model.predictor.further[4].running_mean.zero_()
    torch.testing.assert_close(model.predict_from(z, motions, ahead), model.predictor.output.bias.expand(B, K, -1))
