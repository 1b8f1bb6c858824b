"""A z and a z_agg that tell the thing: the contrast of windows, and an [AGG] that starts from the views' mean."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from glimpseworld.experiments.config import ModelOptions
from glimpseworld.world_model.aggregator import Aggregator
from glimpseworld.world_model.build import build_model, model_settings
from glimpseworld.world_model.heads import InstanceContrast
from glimpseworld.world_model.matching import info_nce
from glimpseworld.world_model.objectives import Objective
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

B, M, K = 6, 2, 3
PLAIN = SeqJEPAConfig(size=8, z_dim=12, motion_dim=2, motion_embedding=4, layers=1, predictor_hidden=16, dropout=0.0)
TELLING = replace(PLAIN, objective=Objective(instance=0.5))


def made(config):
    torch.manual_seed(0)
    return SeqJEPA(config)


def window():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, M + K, 3, 8, 8, generator=generator), torch.randn(B, M - 1 + K, 2, generator=generator)


def test_it_is_what_simclr_asks_of_neighbouring_views_and_of_z_agg_and_each_target():
    torch.manual_seed(0)
    contrast = InstanceContrast(5, 4, 7).eval()
    z_agg, z = torch.randn(B, 5), torch.randn(B, M + K, 4)
    context, views = contrast.of_context(z_agg), contrast.of_view(z)
    assert (context.shape, views.shape) == ((B, 4), (B, M + K, 4))
    of_agg = [info_nce(context[:, None], views[:, [M + k]], 0.2) for k in range(K)]
    ring = [info_nce(views[:, [i]], views[:, [(i + 1) % (M + K)]], 0.2) for i in range(M + K)]
    torch.testing.assert_close(contrast(z_agg, z, K), torch.stack(of_agg).mean() + torch.stack(ring).mean())


def test_it_is_least_where_all_views_of_a_thing_are_alike_and_no_two_things():
    contrast = InstanceContrast(B, B, 7)
    contrast.of_context, contrast.of_view = nn.Identity(), nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    things = torch.eye(B)
    views = things[:, None].expand(-1, M + K, -1)
    best, moved = contrast(things, views, K), contrast(things, views.clone().index_fill_(1, torch.tensor([0]), 1.0), K)
    # each of 2 B - 1 candidates but the partner is at cosine 0, the partner at 1
    assert best.item() == pytest.approx(2 * math.log(1 + (2 * B - 2) * math.exp(-1 / 0.2)), rel=1e-4)
    assert moved > best + 0.1


def test_it_is_weighed_told_and_read_off_z_agg_and_all_views():
    (views, motions), model = window(), made(TELLING).train()
    output = model(views, motions, K)
    assert model.instance_contrast is not None
    every = torch.cat([output.z, model.encode_target(views[:, M:])], dim=1)
    expected = model.instance_contrast(output.z_agg, every, K)
    torch.testing.assert_close(output.terms["instance"], expected.detach())
    torch.testing.assert_close(output.loss.detach(), output.terms["cosine"] + 0.5 * output.terms["instance"])
    assert "instance" not in made(PLAIN)(views, motions, K).terms


class Recorded(nn.Module):
    """A contrast that keeps what it is given."""

    def forward(self, z_agg, z, targets):
        self.context, self.target = z[:, :-targets], z[:, -targets:]
        return z_agg.sum() * 0 + z.sum() * 0


@pytest.mark.parametrize("target_encoder", ["online", "ema"])
def test_it_is_given_targets_as_encoded_with_a_gradient_only_where_they_have_one(target_encoder):
    """Seen by what its gradient alone moves: the online encoder, or nothing."""
    (views, motions), given = window(), Recorded()
    objective = Objective(contrast=1.0, instance=0.5, standardize_targets=True)
    model = made(replace(TELLING, target_encoder=target_encoder, objective=objective)).train()
    model.instance_contrast = given  # pyright: ignore[reportAttributeAccessIssue]
    model(views, motions, K)
    torch.testing.assert_close(given.context, model._encode_window(views, M)[0])
    torch.testing.assert_close(given.target, model._encode_window(views, M)[1])
    moved = torch.autograd.grad((given.target**2).sum(), list(model.encoder.parameters()), allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in moved) == (target_encoder == "online")


def test_all_else_starts_with_the_weights_it_has_without():
    given, plain = made(TELLING).state_dict(), made(PLAIN).state_dict()
    assert all(torch.equal(given[name], value) for name, value in plain.items())
    extra = [name for name in given if name not in plain]
    assert extra and all(name.startswith("instance_contrast.") for name in extra)


def test_agg_may_start_from_the_mean_of_the_tokens():
    z, embedded = torch.randn(4, 3, 5), torch.randn(4, 2, 3)
    tokens = torch.cat([z, torch.cat([embedded, torch.zeros(4, 1, 3)], dim=1)], dim=-1)
    for from_mean, start in ((True, tokens.mean(dim=1)), (False, torch.zeros(4, 8))):
        aggregator = Aggregator(8, 1, 2, 0.0, from_mean=from_mean)
        nn.init.constant_(aggregator.agg_token, 0.5)
        aggregator.transformer = nn.Identity()
        torch.testing.assert_close(aggregator(z, embedded), start + 0.5)
    assert made(replace(PLAIN, agg_token="mean")).aggregator.from_mean
    assert not made(PLAIN).aggregator.from_mean


def test_weights_of_another_version_are_refused_by_what_is_missing():
    weights = {name: value.numpy() for name, value in made(PLAIN).state_dict().items()}
    with pytest.raises(ValueError, match=r"another version, train the model anew: .*instance_contrast"):
        made(TELLING).load_weights(weights)


def test_it_is_rebuilt_from_its_settings():
    model = made(replace(TELLING, agg_token="mean"))
    again = build_model(model_settings(model))
    again.load_state_dict(model.state_dict())
    assert again.config == model.config


def test_what_has_no_effect_is_refused():
    with pytest.raises(ValueError, match="agg_token must be one of"):
        replace(PLAIN, agg_token="median")
    with pytest.raises(ValueError, match=r"model\.agg_token has no effect with method byol"):
        ModelOptions(method="byol", agg_token="mean")
    with pytest.raises(ValueError, match=r"objective\.instance has no effect with method byol"):
        ModelOptions(method="byol", objective=Objective(instance=1.0))
    with pytest.raises(ValueError, match="instance is a weight"):
        Objective(instance=-1.0)
    with pytest.raises(ValueError, match="needs its value"):
        Objective(instance=1.0)(torch.ones(2, 1, 3), torch.ones(2, 1, 3), torch.ones(2, 1, 3))
