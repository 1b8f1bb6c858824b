"""A z_agg that tells the thing: the contrast of windows, and an [AGG] that starts from the views' mean."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from glimpseworld.experiments.config import ModelOptions
from glimpseworld.world_model.aggregator import Aggregator
from glimpseworld.world_model.build import build_model, model_settings
from glimpseworld.world_model.objectives import INSTANCE_TEMPERATURE, Objective, instance_term
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


def test_windows_that_are_alike_cost_the_log_of_their_number():
    alike = instance_term(torch.ones(8, 5), torch.ones(8, 3, 5))
    assert alike.item() == pytest.approx(math.log(8))


def test_two_windows_by_hand():
    """Keys are the mean directions of a window's targets, whatever their norms: here the axes' bisector, and x."""
    target = torch.tensor([[[2.0, 0.0], [0.0, 7.0]], [[1.0, 0.0], [3.0, 0.0]]])
    summary = torch.tensor([[5.0, 5.0], [2.0, 0.0]])
    own, other = 1.0, math.sqrt(0.5)  # cosines of either summary
    expected = math.log1p(math.exp((other - own) / INSTANCE_TEMPERATURE))
    assert instance_term(summary, target).item() == pytest.approx(expected, rel=1e-4)


def test_it_is_weighed_told_and_read_off_z_agg():
    (views, motions), model = window(), made(TELLING).train()
    output = model(views, motions, K)
    assert model.instance_projector is not None
    expected = instance_term(model.instance_projector(output.z_agg), output.target)
    torch.testing.assert_close(output.terms["instance"], expected.detach())
    torch.testing.assert_close(output.loss.detach(), output.terms["cosine"] + 0.5 * output.terms["instance"])
    assert "instance" not in made(PLAIN)(views, motions, K).terms


def test_all_else_starts_with_the_weights_it_has_without():
    given, plain = made(TELLING).state_dict(), made(PLAIN).state_dict()
    assert all(torch.equal(given[name], value) for name, value in plain.items())
    extra = [name for name in given if name not in plain]
    assert extra and all(name.startswith("instance_projector.") for name in extra)


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
    with pytest.raises(ValueError, match="needs the summary of each context"):
        Objective(instance=1.0)(torch.ones(2, 1, 3), torch.ones(2, 1, 3), torch.ones(2, 1, 3))
