"""Tokens that carry poses: where views were seen from, whatever the way."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from glimpseworld.experiments.config import ModelOptions
from glimpseworld.world_model import motion
from glimpseworld.world_model.build import build_model, model_settings
from glimpseworld.world_model.objectives import Objective
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

KINDS = {"translation": 2, "rotation": 4, "rotation-colour": 6}
B, M, K = 6, 3, 3
SMALL = SeqJEPAConfig(size=8, z_dim=12, motion_embedding=4, layers=2, heads=4, predictor_hidden=16, dropout=0.0)


def make_model(kind="rotation", **changes):
    torch.manual_seed(0)
    return SeqJEPA(replace(SMALL, motion_dim=KINDS[kind], objective=Objective.plus(), **changes))


def make_window(kind="rotation", seed=1, context=M, targets=K):
    """Views (B, M + K, 3, 8, 8), poses of each (B, M + K, A), and the motions that a window has (B, M - 1 + K, A)."""
    rng = np.random.default_rng(seed)
    views = torch.from_numpy(rng.normal(size=(B, context + targets, 3, 8, 8)).astype(np.float32))
    poses = rng.normal(size=(B, context + targets, KINDS[kind]))
    poses = motion.compose(kind, motion.identity(kind, poses.shape), poses)
    between = motion.relative(kind, poses[:, : context - 1], poses[:, 1:context])
    ahead = motion.relative(kind, poses[:, context - 1, None], poses[:, context:])
    return views, poses, torch.from_numpy(np.concatenate([between, ahead], axis=1).astype(np.float32))


def check_extra_parts_come_last(model, plain):
    """All parameters that `plain` has start as they do there."""
    given = model.state_dict()
    assert all(torch.equal(given[name], value) for name, value in plain.state_dict().items())


def test_a_model_with_pose_tokens_is_rebuilt_from_its_settings():
    model = make_model(motion_kind="rotation", tokens="pose").train()
    again = build_model(model_settings(model))
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    views, _, motions = make_window()
    torch.testing.assert_close(again.eval()(views, motions, K).loss, model.eval()(views, motions, K).loss)


@pytest.mark.parametrize("kind", KINDS)
def test_pose_tokens_depend_on_where_views_were_seen_and_not_on_the_way(kind):
    pose, step = (make_model(kind, motion_kind=kind, tokens=tokens).eval() for tokens in ("pose", "step"))
    views, poses, motions = make_window(kind, context=M + 1)
    order = [2, 0, 1, 3]  # another way through the same places, to the same last one
    steps = motion.relative(kind, poses[:, order[:-1]], poses[:, order[1:]])
    steps = torch.from_numpy(steps.astype(np.float32))
    z = pose.encode(views[:, : M + 1])
    for model, same in ((pose, True), (step, False)):
        a, b = model.aggregate(z, motions[:, :M]), model.aggregate(z[:, order], steps)
        assert torch.allclose(a, b, atol=1e-4) == same
    # By hand: embeddings of the motions to the last view beside z, and zeros beside the last z.
    to_last = motion.relative(kind, poses[:, :M], poses[:, M, None])
    embedded = pose.motion_embedding(torch.from_numpy(to_last.astype(np.float32)))
    torch.testing.assert_close(pose.aggregate(z, motions[:, :M]), pose.aggregator(z, embedded), atol=1e-5, rtol=1e-4)
    assert (pose.aggregate(z, motions[:, :M]) - pose.aggregate(z, motions[:, :M].flip(0))).abs().max() > 1e-3


def test_pose_tokens_change_no_weight_and_nothing_for_one_step():
    pose, step = (make_model(motion_kind="rotation", tokens=tokens).eval() for tokens in ("pose", "step"))
    check_extra_parts_come_last(pose, step)
    views, _, motions = make_window(context=2)
    torch.testing.assert_close(pose(views, motions, K).prediction, step(views, motions, K).prediction)


@pytest.mark.parametrize("condition", ["both", "aggregator"])
def test_pose_tokens_of_a_rollout_are_seen_from_the_newest_view(condition):
    model = make_model(motion_kind="rotation", tokens="pose", condition=condition).eval()
    views, _, motions = make_window(targets=0)
    past, future = motions, make_window(seed=2)[2][:, :4].unflatten(1, (2, 2))  # two futures of two motions
    z = model.encode(views)
    found = model.rollout(z, past, future)
    for k in range(2):
        first = model.predict(model.aggregate(z, past), future[:, k, 0])
        torch.testing.assert_close(found[:, k, 0], first)
        tokens = torch.cat([z, model.as_token(first)[:, None]], dim=1)
        z_agg = model.aggregate(tokens, torch.cat([past, future[:, k, :1]], dim=1))
        torch.testing.assert_close(found[:, k, 1], model.predict(z_agg, future[:, k, 1]))


def test_pose_tokens_need_motions_that_compose_and_are_seen():
    with pytest.raises(ValueError, match="set motion_kind"):
        replace(SMALL, tokens="pose")
    with pytest.raises(ValueError, match="no effect with condition predictor"):
        replace(SMALL, tokens="pose", motion_kind="rotation", condition="predictor")
    with pytest.raises(ValueError, match="no effect with condition none"):
        ModelOptions(tokens="pose", condition="none")
    with pytest.raises(ValueError, match="tokens must be one of"):
        replace(SMALL, tokens="place", motion_kind="rotation")
    with pytest.raises(ValueError, match="quaternion"):
        replace(SMALL, motion_kind="rotation", motion_dim=2)
