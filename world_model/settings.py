"""What a seq-JEPA is built from: its sizes, its conditioning on motions, and its objective."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args

from .encoder import EncoderName
from .memory import MemoryConfig
from .motion import MotionKind, check_motion_dim
from .objectives import Objective

Condition = Literal["both", "aggregator", "predictor", "none"]
Tokens = Literal["step", "pose"]
TargetEncoder = Literal["ema", "online"]
AggToken = Literal["learned", "mean"]


def check_tokens(tokens: Tokens, condition: Condition) -> None:
    """Raise ValueError where `tokens` have no effect under `condition`."""
    if tokens == "pose" and condition not in ("both", "aggregator"):
        raise ValueError(
            f'tokens "pose" have no effect with condition {condition}: set tokens to "step", or condition to "both"'
        )


def check_target_encoder(target_encoder: TargetEncoder, objective: Objective) -> None:
    """Raise ValueError where an encoder that learns from its targets has no negatives to keep it from collapsing."""
    if target_encoder == "online" and not objective.contrast:
        raise ValueError(
            'target_encoder "online" learns through the contrast alone: set objective.contrast above 0, or leave '
            'target_encoder at "ema"'
        )


def check_sizes(config: Any) -> None:
    """Raise ValueError if a size of a model's `config`, seq-JEPA's or a baseline's, is below 1."""
    for name in ("channels", "z_dim", "motion_embedding", "layers", "heads", "predictor_hidden", "predictor_layers"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")


def from_dict(kind: type, values: Any, path: str = "") -> Any:
    """Return the dataclass that `dataclasses.asdict` made `values` of.

    A nested dataclass may be given as a dict, a tuple as a list, as JSON has them; what is left out has its default.

    Args:
        kind: The dataclass.
        values: Name -> value.
        path: Where `values` stand among other settings, dotted, for messages: "model."; empty for the outermost.

    Raises:
        ValueError: if a setting is unknown, missing or of a wrong type, as in a run of another version.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{path.rstrip('.') or kind.__name__} must be an object of settings, got {values!r}")
    hints = typing.get_type_hints(kind)
    unknown = [path + name for name in sorted(set(values) - set(hints))]
    if unknown:
        raise ValueError(f"{kind.__name__} has no settings {unknown}: remove them, or use a matching version")
    arguments = {}
    for name, value in values.items():
        hint = hints[name]
        if isinstance(hint, type) and is_dataclass(hint):
            value = from_dict(hint, value, f"{path}{name}.")
        elif not fits(value, hint):
            raise ValueError(f"{path}{name} must be {expected(hint)}, got {value!r}")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    missing = [path + f.name for f in fields(kind) if f.name not in values and _required(f)]
    if missing:
        raise ValueError(f"{kind.__name__} needs settings {missing}")
    return kind(**arguments)


def flat_settings(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested settings, as JSON has them, by their dotted paths."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flat_settings(value, f"{path}{name}.") if isinstance(value, Mapping) else {path + name: value}
    return flat


def fits(value: Any, hint: Any) -> bool:
    """Return whether `value`, as JSON has it, is of the type `hint`: a list is a tuple, an int is a float."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin in (Union, UnionType):
        return any(fits(value, choice) for choice in arguments)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return False
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(kinds) == len(value) and all(fits(v, kind) for v, kind in zip(value, kinds, strict=True))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, type(None) if hint is None else origin or hint)


def expected(hint: Any) -> str:
    """Return the type `hint` in words, as in "'a', 'b' or int"."""
    if typing.get_origin(hint) in (Literal, Union, UnionType):
        *others, last = _alternatives(hint)
        return f"{', '.join(others)} or {last}" if others else last
    return str(hint) if typing.get_origin(hint) else hint.__name__


def _alternatives(hint: Any) -> list[str]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return [repr(choice) for choice in arguments]
    if origin in (Union, UnionType):
        return [each for choice in arguments for each in _alternatives(choice)]
    return ["None" if hint is type(None) else expected(hint)]


def _required(setting: Field[Any]) -> bool:
    return setting.default is MISSING and setting.default_factory is MISSING


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
        target_encoder: What encodes the targets: an "ema" copy of the encoder, without gradient, as in the paper; or
            the "online" encoder itself, which learns from the targets as well, by the gradient of the contrast (van den
            Oord et al. 2018, CPC).
        agg_token: What the token starts from that z_agg is read at: a "learned" vector, as in the paper, or the "mean"
            of the views' tokens added to it, so that pooling need not be learned.

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
    target_encoder: TargetEncoder = "ema"
    agg_token: AggToken = "learned"

    def __post_init__(self) -> None:
        choices = {"condition": Condition, "tokens": Tokens, "target_encoder": TargetEncoder, "agg_token": AggToken}
        for name, kinds in choices.items():
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
        check_target_encoder(self.target_encoder, self.objective)
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
