"""Targets by the encoder itself, which learns from them by the contrast."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from glimpseworld.experiments.config import ModelOptions
from glimpseworld.world_model.build import build_model, model_settings
from glimpseworld.world_model.objectives import Objective, contrast_term
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

B, M, K = 6, 2, 3
CONTRAST = Objective.predictive()
SMALL = SeqJEPAConfig(
    size=8, z_dim=12, motion_dim=2, motion_embedding=4, layers=1, predictor_hidden=16, dropout=0.0, objective=CONTRAST
)
ONLINE = replace(SMALL, target_encoder="online")


def made(config):
    torch.manual_seed(0)
    return SeqJEPA(config)


def window(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, M + K, 3, 8, 8, generator=generator), torch.randn(B, M - 1 + K, 2, generator=generator)


@pytest.mark.parametrize(("config", "reached"), [(SMALL, False), (ONLINE, True)])
def test_a_gradient_reaches_the_target_views_where_the_encoder_encodes_them(config, reached):
    views, motions = window()
    views.requires_grad_()
    output = made(config).train()(views, motions, K)
    output.loss.backward()
    assert views.grad is not None
    assert (views.grad[:, :M] != 0).any()
    assert (views.grad[:, M:] != 0).any() == reached
    assert not output.target.requires_grad


def test_the_contrast_alone_sends_a_gradient_to_the_targets():
    generator = torch.Generator().manual_seed(2)
    prediction, z = torch.randn(B, K, 12, generator=generator), torch.randn(B, M, 12, generator=generator)
    whole, alone = (torch.randn(B, K, 12, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    CONTRAST(prediction, whole.requires_grad_(), z)[0].backward()
    (CONTRAST.contrast * contrast_term(prediction, alone.requires_grad_(), CONTRAST.temperature)).backward()
    torch.testing.assert_close(whole.grad, alone.grad)


def test_there_is_no_other_encoder_and_all_views_are_encoded_in_one_call():
    model, averaged = made(ONLINE), made(SMALL)
    assert not any(key.startswith("target_encoder") for key in model.state_dict())
    assert all(torch.equal(value, averaged.state_dict()[key]) for key, value in model.state_dict().items())
    views, motions = window()
    calls = []
    model.encoder.register_forward_hook(lambda _, inputs, output: calls.append(len(output)))
    output = model.train()(views, motions, K)
    assert calls == [B * (M + K)]
    torch.testing.assert_close(output.z, made(ONLINE).train().encode(views)[:, :M])
    torch.testing.assert_close(model.eval().encode_target(views), model.encode(views))


def test_it_tells_targets_apart_by_learning_from_them():
    """Without a contrast all embeddings might as well be one; with it the encoder spreads the targets out."""
    model, (views, motions) = made(ONLINE).train(), window()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        output = model(views, motions, K)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.terms["contrast"].item())
    assert losses[-1] < 0.2 * losses[0]
    z = F.normalize(model.eval().encode_target(views[:, M:]).flatten(0, 1), dim=-1)
    assert (z @ z.T).triu(1).max() < 0.999


def test_it_is_rebuilt_from_its_settings():
    model = made(ONLINE)
    again = build_model(model_settings(model))
    again.load_state_dict(model.state_dict())
    assert again.config == ONLINE


def test_where_it_cannot_learn_it_is_refused():
    for make in (
        lambda: replace(ONLINE, objective=Objective.plus()),
        lambda: ModelOptions(target_encoder="online", objective=Objective.paper()),
    ):
        with pytest.raises(ValueError, match=r"learns through the contrast alone: set objective\.contrast above 0"):
            make()
    with pytest.raises(ValueError, match="target_encoder must be one of"):
        replace(SMALL, target_encoder="slow")
