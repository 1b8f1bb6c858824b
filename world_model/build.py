"""From a model to the settings in its checkpoint, and back: seq-JEPA or a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .baselines import Baseline
from .protocol import WorldModel
from .recipes import BaselineConfig
from .seq_jepa import SeqJEPA
from .settings import SeqJEPAConfig

SEQ_JEPA = "seq-jepa"


def new_model(config: SeqJEPAConfig | BaselineConfig) -> WorldModel:
    """Return a model with fresh weights, drawn from torch's global generator."""
    return SeqJEPA(config) if isinstance(config, SeqJEPAConfig) else Baseline(config)


def model_settings(model: WorldModel) -> dict[str, Any]:
    """Return what `build_model` restores `model` from, its weights apart: a nested dict of JSON types."""
    return {"method": SEQ_JEPA, **model.config.to_dict()}


def build_model(settings: Mapping[str, Any]) -> WorldModel:
    """Return a model, with fresh weights, of the settings that `model_settings` returned.

    Settings without a method are those of a seq-JEPA: it was the only one once.

    Raises:
        ValueError: A setting is unknown or out of range.
    """
    method = settings.get("method", SEQ_JEPA)
    if method == SEQ_JEPA:
        return SeqJEPA(SeqJEPAConfig.from_dict({k: v for k, v in settings.items() if k != "method"}))
    return Baseline(BaselineConfig.from_dict(settings))
