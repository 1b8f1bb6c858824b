"""Baselines: what each recipe's losses reach and ignore, that predictors use motions, and that all go through JSON."""

import json

import numpy as np
import pytest
import torch

from glimpseworld.world_model.baselines import Baseline, Compared, Pairs
from glimpseworld.world_model.build import build_model, model_settings, new_model
from glimpseworld.world_model.heads import ContextPredictor, HypernetworkPredictor, InverseDynamics, PairPredictor
from glimpseworld.world_model.learner import Learner, LearnerConfig
from glimpseworld.world_model.objectives import Objective
from glimpseworld.world_model.recipes import RECIPES, BaselineConfig, BaselineOptions
from glimpseworld.world_model.replay import Windows
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

B, M, K, A, D = 6, 3, 2, 2, 12
METHODS = list(RECIPES)
PREDICTING = [m for m in METHODS if any(branch.sees_motion for branch in RECIPES[m].branches.values())]
SIZES = {
    "size": 8,
    "z_dim": D,
    "motion_dim": A,
    "motion_kind": "translation",
    "motion_embedding": 4,
    "layers": 1,
    "heads": 4,
    "dropout": 0.0,
    "predictor_hidden": 16,
}


def make_config(method, **changes):
    small = BaselineOptions(projector=(16, 8)) if RECIPES[method].projects else BaselineOptions()
    return BaselineConfig(
        **{"method": method, **SIZES, "options": small, "num_classes": 5 * (method == "supervised"), **changes}
    )


def make_model(method, seed=0, **changes):
    torch.manual_seed(seed)
    return Baseline(make_config(method, **changes))


def make_window(seed=1, context=M, targets=K, batch=B):
    generator = torch.Generator().manual_seed(seed)
    views = torch.randn(batch, context + targets, 3, 8, 8, generator=generator)
    return views, torch.randn(batch, context - 1 + targets, A, generator=generator)


def run(model, views, motions, targets=K):
    labels = {"labels": torch.arange(len(views)) % 5} if model.needs_labels else {}
    return model(views, motions, num_targets=targets, **labels)


# --------------------------------------------------------------------------------------------------------- all methods


@pytest.mark.parametrize("method", METHODS)
def test_a_step_trains_every_part_and_only_those(method):
    model = make_model(method, objective=Objective.plus()).train()
    views, motions = make_window()
    output = run(model, views, motions)
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert output.terms.keys() >= set(RECIPES[method].branches) | {"variance", "covariance"}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        else:
            assert "target_" in name
            assert parameter.grad is None, name


@pytest.mark.parametrize("method", METHODS)
def test_targets_pass_the_ema_encoder_or_the_online_one(method):
    model = make_model(method).train()
    seen = {"online": 0, "target": 0}
    model.encoder.register_forward_hook(lambda _, args, __: seen.update(online=seen["online"] + len(args[0]) // B))
    if model.target_encoder is not None:
        model.target_encoder.register_forward_hook(lambda _, args, __: seen.update(target=len(args[0]) // B))
    output = run(model, *make_window())
    assert seen["target"] == (K if model.target_encoder is not None else 0)
    assert output.z.shape == (B, seen["online"], D)


@pytest.mark.parametrize("method", METHODS)
def test_models_are_rebuilt_from_json(method):
    model = make_model(method).eval()
    other = build_model(json.loads(json.dumps(model_settings(model)))).eval()
    other.load_state_dict(model.state_dict())
    views, motions = make_window()
    assert torch.equal(run(model, views, motions).loss, run(other, views, motions).loss)


def test_settings_without_a_method_are_of_seq_jepa():
    config = SeqJEPAConfig(size=8, z_dim=12, motion_embedding=4, layers=1)
    model = build_model(config.to_dict())
    assert isinstance(model, SeqJEPA)
    assert model.config == config
    again = build_model(json.loads(json.dumps(model_settings(new_model(config)))))
    assert again.config == config
    with pytest.raises(ValueError, match=r"BaselineConfig has no settings \['depth'\]"):
        build_model({**make_config("sen").to_dict(), "depth": 3})


@pytest.mark.parametrize("method", METHODS)
def test_one_view_and_one_target_are_enough_but_for_a_trajectory(method):
    model = make_model(method).train()
    views, motions = make_window(context=1, targets=1)
    if method == "vicreg-traj":
        with pytest.raises(ValueError, match="at least 3 consecutive views"):
            run(model, views, motions, 1)
    else:
        assert torch.isfinite(run(model, views, motions, 1).loss)


def windows(seed, labels):
    rng = np.random.default_rng(seed)
    return Windows(
        views=rng.integers(0, 256, (8, M + K, 8, 8, 3), dtype=np.uint8),
        motions=rng.normal(size=(8, M - 1 + K, A)).astype(np.float32),
        context=M,
        env=np.zeros(8, np.int64),
        episode=np.zeros(8, np.int64),
        step=np.zeros((8, M + K), np.int64),
        label=rng.integers(0, 5, 8) if labels else None,
    )


@pytest.mark.parametrize("method", METHODS)
def test_restored_equals_uninterrupted(method):
    def learner(seed):
        return Learner(make_model(method, seed), LearnerConfig(total_steps=20, warmup_steps=2, precision="float32"))

    batches = [windows(i, labels=method == "supervised") for i in range(4)]
    first, other = learner(0), learner(9)
    for batch in batches[:2]:
        first.update(batch)
    arrays = {group: {k: v.copy() for k, v in a.items()} for group, a in first.arrays().items()}
    other.load_arrays(arrays, 2)
    assert [first.update(batch) for batch in batches[2:]] == [other.update(batch) for batch in batches[2:]]


def test_supervised_learning_wants_labels():
    learner = Learner(make_model("supervised"), LearnerConfig(total_steps=20, warmup_steps=2))
    with pytest.raises(ValueError, match="labels=True"):
        learner.update(windows(0, labels=False))
    with pytest.raises(ValueError, match="needs the label"):
        make_model("supervised")(*make_window(), num_targets=K)


# ---------------------------------------------------------------------------------------------------- what losses reach


def gradient_on_z(model, name):
    """Return the gradient of one branch's loss on the embeddings of sources and of targets."""
    views, motions = make_window(batch=16)
    pairs, _ = model._pairs(views, motions, M)
    pairs = pairs._replace(source=pairs.source.detach(), target=pairs.target.detach())
    source, target = pairs.source.requires_grad_(), pairs.target.requires_grad_()
    heads = model.heads(name)
    heads.match(heads.compare(pairs), 0.5).backward()
    return source.grad, target.grad


def test_the_halves_of_sie_never_mix():
    model = make_model("sie").train()
    half = D // 2
    for gradient in gradient_on_z(model, "invariance"):
        assert gradient[..., :half].abs().min() > 0
        assert (gradient[..., half:] == 0).all()
    for gradient in gradient_on_z(model, "equivariance"):
        assert (gradient[..., :half] == 0).all()
        assert gradient[..., half:].abs().min() > 0


def test_sie_decorrelates_its_halves():
    """The covariance is over both projections side by side, so that equal halves cost what separate ones do not."""
    model = make_model("sie").train()
    same = torch.randn(64, 1, 4, generator=torch.Generator().manual_seed(0))
    other = torch.randn(64, 1, 4, generator=torch.Generator().manual_seed(1))

    def cost(second):
        parts = {"invariance": same, "equivariance": second}
        compared = {name: Compared(x, x, x[:, :, None]) for name, x in parts.items()}
        return model._spread_terms(compared)["projected_covariance"][1].item()

    assert cost(same) > 2 * cost(other)


@pytest.mark.parametrize(("method", "reached"), [("simclr", True), ("equimod", True), ("byol", False)])
def test_targets_have_a_gradient_where_there_is_no_ema(method, reached):
    model = make_model(method).train()
    views, motions = make_window()
    views.requires_grad_()
    run(model, views, motions).loss.backward()
    assert (views.grad[:, :2] == 0).all()  # views before the last of the context pair with nothing
    assert views.grad[:, 2].abs().max() > 0
    assert (views.grad[:, 3:].abs().max() > 0) == reached


def test_conv_jepa_predicts_from_each_view_alone():
    model = make_model("conv-jepa").eval()
    views, motions = make_window()
    together = run(model, views, motions).terms["equivariance"]
    alone = []
    for m in range(M):
        ahead = motions[:, m : M - 1].sum(1, keepdim=True) + motions[:, M - 1 :]
        alone.append(run(model, views[:, [m, M, M + 1]], ahead).terms["equivariance"])
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_the_ema_copies_of_byol_follow_and_the_others_have_none():
    model = make_model("byol").train()
    heads = model.heads("invariance")
    with torch.no_grad():
        for parameter in heads.projector.parameters():
            parameter.fill_(2.0)
        for parameter in heads.target_projector.parameters():
            parameter.fill_(1.0)
    model.update_target(0.75)
    assert all(torch.equal(p, torch.full_like(p, 1.25)) for p in heads.target_projector.parameters())
    model.update_target(0.0)
    z = torch.randn(4, 3, D)
    torch.testing.assert_close(heads.eval().project_target(z), heads.project(z))
    other = make_model("simclr")
    assert other.target_encoder is None
    before = {k: v.clone() for k, v in other.state_dict().items()}
    other.update_target(0.5)
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


def test_standardised_targets_are_those_of_the_cosine():
    for method, expected in (("byol", True), ("conv-jepa", True), ("simclr", False), ("sie", False)):
        model = make_model(method, objective=Objective(standardize_targets=True))
        assert all(model.heads(name).target_statistics.standardized == expected for name in model.branches)
    heads = make_model("conv-jepa", objective=Objective(standardize_targets=True)).train().heads("equivariance")
    target = torch.randn(32, K, D) * 3 + 1
    pairs = Pairs(torch.randn(32, 1, D), target, torch.zeros(32, 0, A), torch.randn(32, 1, K, A))
    compared = heads.compare(pairs)
    torch.testing.assert_close(compared.target.mean((0, 1)), torch.zeros(D), atol=1e-5, rtol=0)
    torch.testing.assert_close(heads.target_statistics.as_target(target), compared.target, atol=1e-4, rtol=1e-4)


def test_learning_lowers_every_loss():
    """Two views of each of 16 scenes, which differ by a motion: each method can tell the scenes apart."""
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (16, M + K, 8, 8, 3), dtype=np.uint8)
    for method in ("simclr", "vicreg", "equimod", "sie", "conditional-byol", "context-ssl", "supervised"):
        config = LearnerConfig(total_steps=30, warmup_steps=2, learning_rate=3e-3, precision="float32")
        learner = Learner(make_model(method), config)
        template = windows(0, labels=False)
        motions = rng.normal(size=(16, M - 1 + K, A)).astype(np.float32)
        batch = template._replace(views=scenes, motions=motions, label=np.arange(16) % 5)
        losses = [learner.update(batch)["loss"] for _ in range(30)]
        assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]), method


# ----------------------------------------------------------------------------------------------------------- prediction


@pytest.mark.parametrize("method", METHODS)
def test_only_methods_with_a_motion_in_their_predictor_predict(method):
    model = make_model(method).eval()
    assert model.predicts == (method in PREDICTING)
    assert not RECIPES[method].label or not model.predicts
    z, motions, ahead = torch.randn(B, M, D), torch.randn(B, M - 1, A), torch.randn(B, A)
    if not model.predicts:
        for ask in (lambda: model.predict_from(z, motions, ahead), lambda: model.as_target(z)):
            with pytest.raises(ValueError, match="predicts nothing"):
                ask()
        return
    base = model.predict_from(z, motions, ahead)
    assert base.shape[0] == B
    assert base.shape[1:] == model.as_target(z).shape[2:]
    assert (model.predict_from(z, motions, ahead + 1) - base).abs().max() > 1e-4
    both = model.predict_from(z, motions, torch.stack([ahead + 1, ahead], dim=1))
    torch.testing.assert_close(both[:, 1], base)
    seen = z.clone()
    seen[:, 0] += 1
    remembers = method == "context-ssl"
    assert torch.equal(model.predict_from(z, motions + 1, ahead), base) != remembers
    assert torch.equal(model.predict_from(seen, motions, ahead), base) != remembers
    torch.testing.assert_close(model.aggregate(z, motions), z.mean(1))


@pytest.mark.parametrize("method", PREDICTING)
def test_predict_from_is_what_training_predicts(method):
    model = make_model(method).eval()
    name = next(n for n, branch in RECIPES[method].branches.items() if branch.sees_motion)
    views, motions = make_window()
    pairs, _ = model._pairs(views, motions, M)
    trained = model.heads(name).compare(pairs)
    for k in range(K):
        predicted = model.predict_from(model.encode(views[:, :M]), motions[:, : M - 1], motions[:, M - 1 + k])
        torch.testing.assert_close(predicted, trained.prediction[:, -1, k])
        target = model.encode_target(views[:, M:])[:, k]
        torch.testing.assert_close(model.as_target(target), trained.target[:, k])


def test_motions_with_colours_compose_for_a_method_that_pairs_every_view():
    model = make_model("conv-jepa", motion_dim=6, motion_kind="rotation-colour")
    views, motions = make_window()
    output = run(model, views, torch.cat([motions, motions, motions], dim=-1))
    assert torch.isfinite(output.loss)


def test_the_hypernetwork_is_linear_in_rotations_and_keeps_a_place_without_moving():
    torch.manual_seed(0)
    p, none = torch.randn(B, 1, 5), torch.zeros(B, 0, 4)
    rotations = torch.randn(B, 1, K, 4)
    model = HypernetworkPredictor(5, 4, "rotation")
    weights = model.matrices.weight.view(4, 5, 5)  # W_a
    expected = torch.einsum("bska,aij,bsj->bski", rotations, weights, p)
    torch.testing.assert_close(model(p, none, rotations), expected)
    assert (model(p, none, torch.zeros(B, 1, K, 4)) == 0).all()
    translated = HypernetworkPredictor(5, 2, "translation")
    still = translated(p, none[..., :2], torch.zeros(B, 1, K, 2))
    torch.testing.assert_close(still[:, :, 0], p @ translated.matrices.weight.view(3, 5, 5)[2].T)


@pytest.mark.parametrize("queries", [K, 300])
def test_queries_of_one_context_do_not_see_each_other(queries):
    torch.manual_seed(0)
    model = ContextPredictor(6, A, 4, layers=2, heads=4, dropout=0.0).eval()
    p, between, ahead = torch.randn(B, M, 6), torch.randn(B, M - 1, A), torch.randn(B, M, queries, A)
    together = model(p, between, ahead)
    assert together.shape == (B, 1, queries, 6)
    for k in (0, 1, queries - 1):
        torch.testing.assert_close(model(p, between, ahead[:, :, [k]])[:, :, 0], together[:, :, k])
    assert (model(p[:, [1, 0, 2]], between, ahead) - together).abs().max() > 1e-3


def test_a_plain_predictor_sees_no_motion():
    torch.manual_seed(0)
    model = PairPredictor(6, 8, 0, 4).eval()
    p, ahead = torch.randn(B, M, 6), torch.randn(B, M, K, A)
    found = model(p, ahead[:, :-1, 0], ahead)
    assert found.shape == (B, M, K, 6)
    assert torch.equal(found[:, :, 0], found[:, :, 1])
    assert torch.equal(model(p, ahead[:, :-1, 0], ahead + 1), found)


def test_inverse_dynamics_scores_1_for_the_mean_and_0_for_the_truth():
    torch.manual_seed(0)
    model = InverseDynamics(D, A, 8).train()
    source, target = torch.randn(64, 1, D), torch.randn(64, K, D)
    motions = torch.randn(64, 1, K, A) * torch.tensor([0.1, 100.0]) + 5
    last = model.regressor.layers[2]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
    assert model(source, target, motions).item() == pytest.approx(1, abs=1e-2)
    truth = model.scale(motions.flatten(0, 2)).unflatten(0, (64, 1, K))
    model.regressor.register_forward_hook(lambda *_: truth)
    assert model(source, target, motions).item() == pytest.approx(0, abs=1e-6)


# -------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("vicreg", {"temperature": 0.2}, "temperature has no effect with method vicreg"),
        ("conv-jepa", {"projector": (8,)}, "projector has no effect with method conv-jepa"),
        ("supervised", {"projector": (8,), "temperature": 0.1}, "projector and temperature has no effect"),
        ("context-ssl", {"sources": "last"}, "needs all of the context"),
        ("simclr", {"equivariance": 2.0}, "equivariance has no effect with method simclr"),
        ("equimod", {"projected_variance": 2.0}, "projected_variance has no effect with method equimod"),
        ("sie", {"projected_variance": -1.0}, "projected_variance is a weight"),
        ("sie", {"equivariance": 0.0}, "equivariance is a weight"),
        ("simclr", {"temperature": 0.0}, "temperature must be above 0"),
        ("simclr", {"projector": ()}, "at least one width"),
        ("simclr", {"sources": "some"}, "sources must be one of"),
    ],
)
def test_options_without_effect_or_sense_are_refused(method, options, message):
    with pytest.raises(ValueError, match=message):
        make_config(method, options=BaselineOptions(**options))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "moco"}, "method must be one of"),
        ({"num_classes": 3}, "num_classes"),
        ({"z_dim": 0}, "z_dim must be at least 1"),
        ({"motion_dim": 3, "motion_kind": "rotation"}, "quaternion"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        BaselineConfig(**{"method": "simclr", **SIZES, **changes})


def test_each_context_view_may_be_a_source():
    model = make_model("simclr", options=BaselineOptions((8,), sources="each")).eval()
    views, motions = make_window()
    alone = [run(model, views[:, [m, M, M + 1]], motions[:, :K]).loss for m in range(M)]
    torch.testing.assert_close(run(model, views, motions).loss, torch.stack(alone).mean())


def test_the_loss_is_the_weighted_sum_of_its_terms():
    options = BaselineOptions((16, 8), equivariance=3.0, projected_variance=40.0)
    output = run(make_model("sie", options=options, objective=Objective(variance=0.5)).eval(), *make_window())
    weights = {
        "invariance": 10,
        "equivariance": 30,
        "projected_variance": 40,
        "projected_covariance": 1,
        "variance": 0.5,
    }
    assert output.terms.keys() == weights.keys()
    torch.testing.assert_close(output.loss, sum(weight * output.terms[name] for name, weight in weights.items()))
    published = run(make_model("sie").eval(), *make_window())
    weights = {**weights, "equivariance": 4.5, "projected_variance": 10}
    torch.testing.assert_close(published.loss, sum(weights[name] * term for name, term in published.terms.items()))


def test_mismatched_shapes_are_told():
    model = make_model("simclr")
    views, motions = make_window()
    with pytest.raises(ValueError, match=r"motions must be \(6, 4, 2\)"):
        model(views, motions[:, 1:], num_targets=K)
    with pytest.raises(ValueError, match="M >= 1 context views"):
        model(views, motions, num_targets=M + K)
    with pytest.raises(ValueError, match="batch of at least 2"):
        model.train()(views[:1], motions[:1], num_targets=K)
