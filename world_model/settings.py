"""What a seq-JEPA is built from: its sizes, its conditioning on motions, and its objective."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Literal, get_args

from .encoder import EncoderName
from .memory import MemoryConfig
from .motion import MotionKind, check_motion_dim
from .objectives import Objective

Condition = Literal["both", "aggregator", "predictor", "none"]
Tokens = Literal["step", "pose"]


def check_tokens(tokens: Tokens, condition: Condition) -> None:
    """Raise ValueError where `tokens` have no effect under `condition`."""
    if tokens == "pose" and condition not in ("both", "aggregator"):
        raise ValueError(f'tokens "pose" have no effect with condition {condition}: set condition to "both"')


def check_sizes(config: Any) -> None:
    """Raise ValueError if a size of a model's `config`, seq-JEPA's or a baseline's, is below 1."""
    for name in ("channels", "z_dim", "motion_embedding", "layers", "heads", "predictor_hidden", "predictor_layers"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")


def from_dict(kind: type, values: Mapping[str, Any]) -> Any:
    """Return the dataclass that `dataclasses.asdict` made `values` of.

    A nested dataclass may be given as a dict, a tuple as a list, as JSON has them; what is left out has its default.

    Raises:
        ValueError: if a setting is unknown or of a wrong type, as in a run of another version.
    """
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{kind.__name__} has no settings {unknown}: remove them, or use a matching version")
    arguments = {}
    for name, value in values.items():
        if isinstance(hints[name], type) and is_dataclass(hints[name]):
            value = from_dict(hints[name], value)
        arguments[name] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be made of {dict(values)}: {error}") from error


@dataclass(frozen=True)
class SeqJEPAConfig:
    """Everything that `SeqJEPA` is built from, JSON-able by `to_dict`; sizes other than the encoder's are the paper's.

    Attributes:
        encoder: "small", "resnet18" (ImageNet stem) or "resnet18-cifar" (the paper's for 32x32 views).
        size: Side of the views in pixels; None is any, for ResNets only.
        channels: Channels of a view.
        z_dim: Length D of an embedding; 512 for ResNets.
        motion_dim: Length A of a motion: 4 for quaternions, 2 for saccades; 0 for a model without motions.
        motion_embedding: Length of an embedded motion.
        layers: Layers of the aggregator.
        heads: Attention heads of the aggregator.
        dropout: Probability of dropout in the aggregator.
        predictor_hidden: Hidden units of the predictor.
        predictor_layers: Hidden layers of the predictor; 1 in the paper.
        condition: Which parts see the motions (the paper's ablation): "both", "aggregator", "predictor" or "none".
        objective: What training minimises.
        memory: Sizes of the path memory; none by default.
        motion_kind: How motions compose; None is unknown, and does where nothing has to be composed.
        tokens: What a token carries beside z_i: the motion of the "step" to the next view, as in the paper, or the
            "pose" of view i, as the motion from it to the last view M.

    Raises:
        ValueError: A value is out of range, or sizes do not fit each other.
    """

    encoder: EncoderName = "small"
    size: int | None = 32
    channels: int = 3
    z_dim: int = 128
    motion_dim: int = 4
    motion_embedding: int = 128
    layers: int = 3
    heads: int = 4
    dropout: float = 0.1
    predictor_hidden: int = 1024
    predictor_layers: int = 1
    condition: Condition = "both"
    objective: Objective = field(default_factory=Objective.paper)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    motion_kind: MotionKind | None = None
    tokens: Tokens = "step"

    def __post_init__(self) -> None:
        for name, kinds in (("condition", Condition), ("tokens", Tokens)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f"{name} must be one of {get_args(kinds)}, got {getattr(self, name)!r}")
        check_sizes(self)
        if self.motion_dim < 0:
            raise ValueError(f"motion_dim must be 0 (no motions) or more, got {self.motion_dim}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a probability in [0, 1), got {self.dropout}")
        if self.memory.layers and not self.motion_dim:
            raise ValueError("a path memory integrates motions, but motion_dim is 0: set memory.layers to 0")
        check_tokens(self.tokens, self.condition)
        if self.motion_kind is not None and self.motion_dim:
            check_motion_dim(self.motion_kind, self.motion_dim)
        elif self.tokens == "pose":
            raise ValueError('tokens "pose" compose motions: set motion_kind, and motion_dim above 0')

    @property
    def aggregator_sees_motion(self) -> bool:
        """Whether the tokens carry embedded motions."""
        return self.motion_dim > 0 and self.condition in ("both", "aggregator")

    @property
    def predictor_sees_motion(self) -> bool:
        """Whether the predictor is given the embedded motion to the target."""
        return self.motion_dim > 0 and self.condition in ("both", "predictor")

    @property
    def token_dim(self) -> int:
        """Length E of a token and of z_agg."""
        return self.z_dim + self.motion_embedding * self.aggregator_sees_motion

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a nested dict of JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> SeqJEPAConfig:
        """Return the config that `to_dict` made `settings` of.

        Raises:
            ValueError: A setting is unknown.
        """
        return from_dict(cls, settings)
