"""Settings of a run as frozen dataclasses, the presets, and what is built from them."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

import numpy as np

from ..agents.scripted import Agent, IndependentAgent, RandomAgent, SaliencyAgent
from ..envs.core import World
from ..envs.splits import Split
from ..world_model.learner import LearnerConfig
from ..world_model.objectives import Objective
from ..world_model.recipes import BaselineConfig, BaselineName, BaselineOptions
from ..world_model.seq_jepa import SeqJEPAConfig

AgentName = Literal["random", "independent", "saliency"]


@dataclass(frozen=True)
class RotationOptions:
    """The world of rotations; see the page of `GlimpseWorld/ObjectRotation-v0`."""

    size: int = 64
    """Side of the view in pixels."""
    members_per_family: int = 64
    """Training objects of each family."""
    palette: Literal["parts", "objects"] = "parts"
    """Colours by part, alike in all objects, or colours of each object's own."""
    max_angle: float = 0.7853981633974483
    """Radians that an action component of 1 turns."""
    rotation: Literal["free", "3diebench"] = "3diebench"
    """Any orientation, or Euler angles within 90 degrees."""
    lighting: Literal["fixed", "episode", "step"] = "step"
    """When floor hue, spot position and spot hue are drawn."""
    shadows: bool = True
    """Cast shadows."""


@dataclass(frozen=True)
class SaccadeOptions:
    """The world of saccades; see the page of `GlimpseWorld/Saccade-v0`."""

    images: str = "scenes"
    """Built in: "scenes", "search-easy", "search", "search-hard" or "textures"; or the path of a data set (STL-10,
    CIFAR-10/100, Tiny ImageNet), a folder with one sub-folder a class, an `.npz` or an `.npy` file."""
    glimpse_size: int = 32
    """Side of the glimpse in pixels."""
    max_amplitude: float = 1.0
    """Image units that an action component of 1 moves."""


@dataclass(frozen=True)
class ReplayOptions:
    """What the replay keeps and which windows it gives."""

    capacity: int = 60_000
    """Views kept."""
    context: tuple[int, int] = (1, 3)
    """Least and most context views M of a window; M is drawn for each batch."""
    targets: int = 4
    """Targets K of a window."""
    windows: Literal["adjacent", "hindsight"] = "hindsight"
    """Views in the order they were seen, or any views of an episode with their motions composed."""


@dataclass(frozen=True)
class ModelOptions:
    """The method and the sizes of the model; the view's and the motion's follow from the world."""

    method: Literal["seq-jepa"] | BaselineName = "seq-jepa"
    """What is trained: seq-JEPA, or a baseline on the same encoder, windows and budget; "supervised" is the ceiling,
    told the class and the motion."""
    encoder: Literal["small", "resnet18", "resnet18-cifar"] = "small"
    """Encoder; "resnet18" has the ImageNet stem."""
    z_dim: int = 128
    """Length of an embedding; 512 for ResNets."""
    motion_embedding: int = 64
    """Length of an embedded motion, where a method embeds it."""
    layers: int = 2
    """Transformer layers of the aggregator; among the baselines only context-ssl has a transformer."""
    heads: int = 4
    """Attention heads."""
    dropout: float = 0.0
    """Dropout of the transformer."""
    predictor_hidden: int = 512
    """Hidden units of the predictor."""
    condition: Literal["both", "aggregator", "predictor", "none"] = "both"
    """Which parts of a seq-JEPA see the motions."""
    objective: Objective = field(default_factory=Objective.plus)
    """What is minimised; for a baseline, what is added to its own losses: the terms on z, and the standardisation of
    targets where its loss is a cosine."""
    baseline: BaselineOptions = field(default_factory=BaselineOptions)
    """What only the baselines have."""

    def __post_init__(self) -> None:
        if self.method == "seq-jepa":
            if self.baseline != BaselineOptions():
                raise ValueError("model.baseline options have no effect with method seq-jepa: leave them out")
            return
        if self.condition != "both":
            raise ValueError(f"model.condition has no effect with method {self.method}: leave it out")
        self.baseline.check_effect(self.method)


@dataclass(frozen=True)
class TrainConfig:
    """A training run: an agent acts in a world and a model learns from its replay, interleaved."""

    world: Literal["rotation", "saccade"] = "rotation"
    """Which world."""
    rotation: RotationOptions = field(default_factory=RotationOptions)
    """Options of the world of rotations."""
    saccade: SaccadeOptions = field(default_factory=SaccadeOptions)
    """Options of the world of saccades."""
    agent: AgentName = "random"
    """Who acts: uniform random motions; independent poses, privileged (i.i.d. views if max_angle is pi or max_amplitude
    2); or saliency with inhibition of return, which looks at images only."""
    seed: int = 0
    """Of everything random in the run."""
    folder: str = "runs"
    """Where the run's own folder is made."""
    num_envs: int = 24
    """Sub-environments that act in lockstep."""
    episode_steps: int = 16
    """Motions in an episode; it shows one object or image."""
    glimpses_per_update: float = 24.0
    """New glimpses for each update: the ratio of acting to learning."""
    warmup_glimpses: int = 4_000
    """Glimpses before the first update."""
    batch_size: int = 64
    """Windows in a batch."""
    replay: ReplayOptions = field(default_factory=ReplayOptions)
    """The replay."""
    model: ModelOptions = field(default_factory=ModelOptions)
    """The model."""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """The optimiser; `total_steps` is the length of the run."""
    device: str = "cpu"
    """Where to compute: "cpu", "cuda", "cuda:1", ..."""
    log_every: int = 50
    """Updates between rows of metrics."""
    probe_every: int = 500
    """Updates between small probes on validation objects or images."""
    checkpoint_every: int = 500
    """Updates between checkpoints."""
    final_evaluation: Literal["none", "quick", "full"] = "quick"
    """How thoroughly the model is evaluated on held-out things after the last update."""

    def __post_init__(self) -> None:
        positive = ("num_envs", "episode_steps", "batch_size", "log_every", "probe_every", "checkpoint_every")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.glimpses_per_update <= 0 or self.warmup_glimpses < 0:
            raise ValueError("glimpses_per_update must be above 0 and warmup_glimpses at least 0")
        low, high = self.replay.context
        if not 1 <= low <= high or self.replay.targets < 1:
            raise ValueError(
                f"replay.context must be 1 <= least <= most and replay.targets at least 1, got {self.replay}"
            )
        if high + self.replay.targets > self.episode_steps + 1:
            raise ValueError(
                f"windows of {high} + {self.replay.targets} views do not fit episodes of {self.episode_steps + 1}: "
                "raise episode_steps, or lower replay.context or replay.targets"
            )
        slots, needed = self.replay.capacity // self.num_envs, self.episode_steps + 1
        if slots < needed:
            raise ValueError(
                f"replay.capacity {self.replay.capacity} gives each of {self.num_envs} sub-environments {slots} views, "
                f"less than an episode of {needed}: raise it to at least {needed * self.num_envs}"
            )
        if self.world == "rotation" and self.agent == "saliency":
            raise ValueError('agent "saliency" looks at images: use --world saccade, or --agent random')
        if self.world == "rotation" and self.saccade != SaccadeOptions():
            raise ValueError("saccade options have no effect with --world rotation; leave them out")
        if self.world == "saccade" and self.rotation != RotationOptions():
            raise ValueError(
                "rotation options have no effect with --world saccade: leave them out, and start from a preset for "
                "saccades, such as quick-saccade"
            )


def presets() -> dict[str, tuple[str, TrainConfig]]:
    """Return the presets: name -> (description, settings)."""
    quick = TrainConfig(
        rotation=RotationOptions(size=32),
        learner=LearnerConfig(total_steps=3_600),
        probe_every=600,
        checkpoint_every=600,
    )
    cpu = TrainConfig(
        learner=LearnerConfig(total_steps=12_000),
        glimpses_per_update=16.0,
        probe_every=1_000,
        checkpoint_every=1_000,
    )
    paper_model = ModelOptions(
        encoder="resnet18",
        z_dim=512,
        motion_embedding=128,
        layers=3,
        dropout=0.1,
        predictor_hidden=1024,
        objective=Objective.paper(),
    )
    paper = TrainConfig(
        rotation=RotationOptions(size=128, max_angle=math.pi),
        agent="independent",
        num_envs=64,
        episode_steps=8,
        glimpses_per_update=512.0,
        warmup_glimpses=20_000,
        batch_size=512,
        replay=ReplayOptions(capacity=60_000, context=(3, 3), targets=1, windows="adjacent"),
        model=paper_model,
        learner=LearnerConfig(
            total_steps=100_000,
            learning_rate=4e-4,
            final_learning_rate=1e-5,
            warmup_steps=2_000,
            target_tau=0.996,
            clip_norm=0.0,
        ),
        device="cuda",
        probe_every=2_000,
        checkpoint_every=5_000,
    )
    return {
        "quick": ("Five minutes on two cores: 32 x 32 views of turning objects. What `make run` runs.", quick),
        "cpu": ("About forty minutes on two cores: 64 x 64 views.", cpu),
        "quick-saccade": (
            "Five minutes on two cores: saccades over scenes, by saliency and inhibition of return.",
            replace(quick, world="saccade", agent="saliency", rotation=RotationOptions()),
        ),
        "paper": ("ResNet-18, i.i.d. views at 128 x 128 and the paper's settings; for a GPU.", paper),
    }


def make_world(config: TrainConfig, split: Split) -> World:
    """Return the world of `config` with the objects or images of `split`."""
    if config.world == "rotation":
        from ..envs.object_rotation import ObjectRotationWorld

        members = config.rotation.members_per_family if split == "train" else HELD_OUT_MEMBERS
        return ObjectRotationWorld(split=split, **{**asdict(config.rotation), "members_per_family": members})
    from ..envs.saccade import SaccadeWorld

    return SaccadeWorld(split=split, **asdict(config.saccade))


HELD_OUT_MEMBERS = 16
"""Validation objects, and test objects, of each family."""


def make_agent(name: AgentName, world: World, num_envs: int, rng: np.random.Generator) -> Agent:
    """Return the agent called `name` for B = `num_envs` rows of `world`.

    Raises:
        ValueError: if it cannot act in that world.
    """
    if name == "random":
        return RandomAgent(num_envs, world.action_space.shape[0], rng)
    if name == "independent":
        return IndependentAgent(num_envs, world.draw_poses, world.actions_towards, rng)
    return _make_saliency_agent(world, num_envs, rng)


def _make_saliency_agent(world: World, num_envs: int, rng: np.random.Generator) -> SaliencyAgent:
    from ..envs.saccade import SaccadeWorld

    if not isinstance(world, SaccadeWorld):
        raise ValueError(f"the saliency agent looks at images; {type(world).__name__} has none")
    return SaliencyAgent(
        world.priority_map(num_envs),
        world.images.saliency if world.priority.saliency else None,
        reach=world.reach,
        max_amplitude=world.max_amplitude,
        rng=rng,
        action_size=world.action_space.shape[0],
    )


def model_config(config: TrainConfig, world: World) -> SeqJEPAConfig | BaselineConfig:
    """Return the settings of the model of `config`, with the sizes of `world`."""
    size, _, channels = world.glimpse_space.shape
    options = {f.name: getattr(config.model, f.name) for f in fields(config.model)}
    options |= {"size": size, "channels": channels, "motion_dim": world.motion_space.shape[0]}
    method, own, condition = options.pop("method"), options.pop("baseline"), options.pop("condition")
    if method == "seq-jepa":
        return SeqJEPAConfig(condition=condition, **options)
    classes = len(world.class_names) if method == "supervised" else 0
    return BaselineConfig(method, motion_kind=world.motion_kind, num_classes=classes, options=own, **options)


def from_dict(kind: type, values: Mapping[str, Any]) -> Any:
    """Return the dataclass that `dataclasses.asdict` made `values` of.

    Raises:
        ValueError: if a setting is unknown or of a wrong type, as in a run of another version.
    """
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{kind.__name__} has no settings {unknown}: the run was made by another version")
    arguments = {}
    for name, value in values.items():
        if isinstance(hints[name], type) and is_dataclass(hints[name]):
            value = from_dict(hints[name], value)
        arguments[name] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be made of {dict(values)}: {error}") from error
