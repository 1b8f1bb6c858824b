"""A z_agg that tells the thing: the contrast of windows, and an [AGG] that starts from the views' mean."""

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


def test_it_is_what_simclr_asks_of_projections_of_z_agg_and_of_each_target():
    torch.manual_seed(0)
    contrast = InstanceContrast(5, 4, 7).eval()
    z_agg, target = torch.randn(B, 5), torch.randn(B, K, 4)
    context, targets = contrast.of_context(z_agg), contrast.of_target(target)
    assert (context.shape, targets.shape) == ((B, 4), (B, K, 4))
    slots = [info_nce(context[:, None], targets[:, [k]], 0.2) for k in range(K)]
    torch.testing.assert_close(contrast(z_agg, target), torch.stack(slots).mean())


def test_it_is_weighed_told_and_read_off_z_agg():
    (views, motions), model = window(), made(TELLING).train()
    output = model(views, motions, K)
    assert model.instance_contrast is not None
    expected = model.instance_contrast(output.z_agg, model.encode_target(views[:, M:]))
    torch.testing.assert_close(output.terms["instance"], expected.detach())
    torch.testing.assert_close(output.loss.detach(), output.terms["cosine"] + 0.5 * output.terms["instance"])
    assert "instance" not in made(PLAIN)(views, motions, K).terms


class Recorded(nn.Module):
    """A contrast that keeps what it is given."""

    def forward(self, z_agg, target):
        self.given = target
        return z_agg.sum() * 0 + target.sum() * 0


@pytest.mark.parametrize("target_encoder", ["online", "ema"])
def test_it_is_given_targets_as_encoded_with_a_gradient_only_where_they_have_one(target_encoder):
    (views, motions), given = window(), Recorded()
    objective = Objective(contrast=1.0, instance=0.5, standardize_targets=True)
    model = made(replace(TELLING, target_encoder=target_encoder, objective=objective)).train()
    model.instance_contrast = given  # pyright: ignore[reportAttributeAccessIssue]
    model(views, motions, K)
    assert given.given.requires_grad == (target_encoder == "online")
    torch.testing.assert_close(given.given, model._encode_window(views, M)[1])


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
