"""The published seq-JEPA checkpoints: their keys in this project's words, and their sizes read off the shapes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .settings import Condition, SeqJEPAConfig

_RENAMED = (
    ("module.", ""),
    ("agg_token", "aggregator.agg_token"),
    ("transformer_encoder.transformer_encoder.", "aggregator.transformer."),
    ("transformer_encoder.norm.", "aggregator.transformer.norm."),
    ("action_proj.0.", "motion_embedding.linear."),
    ("action_proj.1.", "motion_embedding.norm."),
    ("predictor.0.", "predictor.hidden."),
    ("predictor.1.", "predictor.norm."),
    ("predictor.3.", "predictor.output."),
)


def own_key(key: str) -> str:
    """Return this project's name for a key of a published checkpoint; its own names stay as they are."""
    for theirs, ours in _RENAMED:
        if key.startswith(theirs):
            key = ours + key[len(theirs) :]
    return key


def reference_config(weights: Mapping[str, Tensor], heads: int) -> SeqJEPAConfig:
    """Read the sizes of a published checkpoint, its keys already renamed, off the shapes of its weights.

    Raises:
        ValueError: A key that tells a size is missing.
    """
    needed = ("encoder.conv1.weight", "aggregator.agg_token", "predictor.hidden.weight", "predictor.output.weight")
    missing = [key for key in needed if key not in weights]
    if missing:
        raise ValueError(f"not a published seq-JEPA checkpoint: missing {missing}, found {sorted(weights)[:5]} …")
    conv, agg_token, hidden, output = (weights[key].shape for key in needed)
    motion = weights.get("motion_embedding.linear.weight")
    z_dim, token_dim = output[0], agg_token[-1]
    in_tokens, in_predictor = token_dim > z_dim, hidden[1] > token_dim
    condition: dict[tuple[bool, bool], Condition] = {
        (True, True): "both",
        (True, False): "aggregator",
        (False, True): "predictor",
        (False, False): "none",
    }
    prefix = "aggregator.transformer.layers."
    return SeqJEPAConfig(
        encoder="resnet18" if conv[-1] == 7 else "resnet18-cifar",
        size=None,
        channels=conv[1],
        z_dim=z_dim,
        motion_dim=0 if motion is None else motion.shape[1],
        motion_embedding=128 if motion is None else motion.shape[0],
        layers=len({key[len(prefix) :].split(".")[0] for key in weights if key.startswith(prefix)}),
        heads=heads,
        predictor_hidden=hidden[0],
        condition=condition[in_tokens, in_predictor],
    )
