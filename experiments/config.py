"""Settings of a run as frozen dataclasses, the presets, and what is built from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from ..envs.settings import check_whole
from ..envs.splits import Split
from ..envs.world import World
from ..world_model.learner import LearnerConfig
from ..world_model.memory import MemoryConfig
from ..world_model.objectives import Objective
from ..world_model.recipes import BaselineConfig, BaselineName, BaselineOptions
from ..world_model.seq_jepa import SeqJEPAConfig
from ..world_model.settings import TargetEncoder, Tokens, check_target_encoder, check_tokens, from_dict
from .worlds import (
    HELD_OUT_MEMBERS,
    AgentName,
    PriorityOptions,
    RotationOptions,
    SaccadeOptions,
    StoredOptions,
    make_agent,
)

__all__ = [
    "HELD_OUT_MEMBERS",
    "AgentName",
    "Effort",
    "ModelOptions",
    "PathOptions",
    "ReplayOptions",
    "RotationOptions",
    "SaccadeOptions",
    "StoredOptions",
    "TrainConfig",
    "check_seed",
    "from_dict",
    "make_agent",
    "make_world",
    "model_config",
    "presets",
]

Effort = Literal["brief", "quick", "full"]
"""How thoroughly a model is evaluated: `evaluate.PLANS`."""


def check_seed(seed: int) -> None:
    """Raise ValueError unless `seed` is one that all that is seeded takes: NumPy, PyTorch and Stable-Baselines3."""
    check_whole("seed", seed, low=0, high=2**32 - 1)


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


_SEQ_JEPAS_OWN = ("condition", "tokens", "target_encoder", "agg_token")
"""Choices that no baseline has."""
_TOKENS: Tokens = "pose"
_TARGET_ENCODER: TargetEncoder = "online"
_OF_PRESETS = {"tokens": _TOKENS, "target_encoder": _TARGET_ENCODER}
"""Those of them that presets make otherwise than the paper."""


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
    """Layers of the aggregator; among the baselines only context-ssl has a transformer."""
    heads: int = 4
    """Attention heads of the aggregator."""
    dropout: float = 0.0
    """Dropout of the transformer."""
    predictor_hidden: int = 512
    """Hidden units of the predictor."""
    predictor_layers: int = 1
    """Hidden layers of the predictor; one in the paper, and in the published baselines. Without effect on SIE, whose
    predictor is linear with weights made from the motion, on context-ssl, whose is a transformer, and on methods that
    have none."""
    condition: Literal["both", "aggregator", "predictor", "none"] = "both"
    """Which parts of a seq-JEPA see the motions."""
    objective: Objective = field(default_factory=Objective.plus)
    """What is minimised; for a baseline, what is added to its own losses: the terms on z, and the standardisation of
    targets where its loss is a cosine. Where a preset has what is a seq-JEPA's alone, a contrast of targets, tokens
    and a target encoder, a baseline begins without."""
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """The path memory of a seq-JEPA; none with 0 layers."""
    baseline: BaselineOptions = field(default_factory=BaselineOptions)
    """What only the baselines have."""
    tokens: Literal["step", "pose"] = "step"
    """What a token of a seq-JEPA carries beside its view: the motion to the next view, or the one to the last view."""
    target_encoder: Literal["ema", "online"] = "ema"
    """What encodes the targets of a seq-JEPA: an averaged copy of the encoder, or the encoder, which then learns from
    them too."""
    agg_token: Literal["learned", "mean"] = "learned"
    """What the token starts from that a seq-JEPA's z_agg is read at: a learned vector, or the views' mean beside it."""

    def __post_init__(self) -> None:
        if self.method == "seq-jepa":
            check_tokens(self.tokens, self.condition)
            check_target_encoder(self.target_encoder, self.objective)
            if self.baseline != BaselineOptions():
                raise ValueError("model.baseline options have no effect with method seq-jepa: leave them out")
            return
        for name in _SEQ_JEPAS_OWN:
            default = getattr(ModelOptions, name)
            if getattr(self, name) == _OF_PRESETS.get(name):
                object.__setattr__(self, name, default)
            elif getattr(self, name) != default:
                raise ValueError(f"model.{name} has no effect with method {self.method}: leave it out")
        preset, own = Objective.predictive(), self.objective
        if (own.contrast, own.temperature) == (preset.contrast, preset.temperature):
            without = replace(own, contrast=0.0, temperature=Objective.temperature)
            object.__setattr__(self, "objective", without)
        if self.memory != MemoryConfig():
            raise ValueError(f"only a seq-jepa has a path memory, not {self.method}: leave model.memory out")
        self.baseline.check_effect(self.method)
        self.objective.check_effect(self.method)


@dataclass(frozen=True)
class PathOptions:
    """The paths that a path memory is trained on, drawn through each batch; see `world_model.paths`."""

    count: int = 64
    """Paths for each update."""
    swapped: float = 1.0
    """Share of paths along which the views are those of other places and things, so that motions alone tell where."""

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.swapped <= 1:
            raise ValueError(f"paths.count must be at least 1 and paths.swapped in [0, 1], got {self}")


@dataclass(frozen=True)
class TrainConfig:
    """A training run: an agent acts in a world and a model learns from its replay, interleaved."""

    world: Literal["rotation", "saccade", "stored-views"] = "rotation"
    """Which world; "stored-views" is 3DIEBench on disk."""
    rotation: RotationOptions = field(default_factory=RotationOptions)
    """Options of the world of rotations."""
    saccade: SaccadeOptions = field(default_factory=SaccadeOptions)
    """Options of the world of saccades."""
    stored: StoredOptions = field(default_factory=StoredOptions)
    """Options of the world of stored views."""
    agent: AgentName = "random"
    """Who acts: uniform random motions; independent poses, privileged (i.i.d. views if max_angle is pi or max_amplitude
    2; stored views each once, in random order); saliency with inhibition of return, which looks at images only; or
    curious, which goes where the predictions of the model that is learning disagree."""
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
    paths: PathOptions = field(default_factory=PathOptions)
    """Training of the path memory, where the model has one."""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """The optimiser; `total_steps` is the length of the run."""
    from_reference: str | None = None
    """Published checkpoint (a .safetensors or a torch.save file) whose weights the model begins with, the target
    encoder's too; the optimiser and the schedules begin anew. The model's sizes must be the checkpoint's."""
    device: str = "cpu"
    """Where to compute: "cpu", "cuda", "cuda:1", ..."""
    log_every: int = 50
    """Updates between rows of metrics."""
    probe_every: int = 500
    """Updates between small probes on validation objects or images."""
    checkpoint_every: int = 500
    """Updates between checkpoints."""
    final_evaluation: Literal["none", "brief", "quick", "full"] = "quick"
    """How thoroughly the model is evaluated on held-out things after the last update."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        positive = ("num_envs", "episode_steps", "batch_size", "log_every", "probe_every", "checkpoint_every")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.glimpses_per_update < math.inf or self.warmup_glimpses < 0:
            raise ValueError(
                "glimpses_per_update must be above 0 and finite, and warmup_glimpses at least 0, got "
                f"{self.glimpses_per_update} and {self.warmup_glimpses}"
            )
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
        if not self.model.memory.layers and self.paths != PathOptions():
            raise ValueError("paths have no effect without a path memory: set model.memory.layers, or leave them out")
        if self.model.method == "vicreg-traj" and low + self.replay.targets < 3:
            raise ValueError(
                "method vicreg-traj needs windows of at least 3 views, and these may have "
                f"{low} + {self.replay.targets}: raise replay.context or replay.targets"
            )
        if self.from_reference and self.model.method != "seq-jepa":
            raise ValueError(f"published checkpoints are seq-JEPAs, not {self.model.method}: leave from_reference out")
        self._check_world()

    def _check_world(self) -> None:
        """Raise ValueError where the agent cannot act in the world, or an option has no effect in it."""
        if self.world != "saccade" and self.agent == "saliency":
            raise ValueError('agent "saliency" looks at images: use --world saccade, or --agent random')
        if self.agent == "curious" and self.world == "rotation" and self.rotation.motion != "rotation":
            raise ValueError('agent "curious" cannot command colours: set rotation.motion to "rotation"')
        others = {
            "rotation": self.rotation == RotationOptions(),
            "saccade": self.saccade == SaccadeOptions(),
            "stored": self.stored == StoredOptions(),
        }
        for name, untouched in others.items():
            if not untouched and name != self.world.removesuffix("-views"):
                raise ValueError(
                    f"{name} options have no effect with --world {self.world}: leave them out, and start from a preset "
                    "for that world, such as quick, quick-saccade or paper-3diebench"
                )
        if self.agent != "saliency" and self.saccade.priority != PriorityOptions():
            raise ValueError(f"saccade.priority has no effect with --agent {self.agent}: use --agent saliency")


def presets() -> dict[str, tuple[str, TrainConfig]]:
    """Return the presets: name -> (description, settings)."""
    cpu = TrainConfig(  # chosen on validation objects: experiments/README.md, "Choosing a recipe"
        learner=LearnerConfig(total_steps=5_580, learning_rate=2.5e-3),  # cost what 6,000 of seq-JEPA+ do
        model=ModelOptions(
            objective=Objective.predictive(), predictor_layers=2, tokens=_TOKENS, target_encoder=_TARGET_ENCODER
        ),
        probe_every=1_000,
        checkpoint_every=1_000,
    )
    quick = replace(
        cpu,
        rotation=RotationOptions(size=32),
        glimpses_per_update=96.0,  # views of this size cost little: experiments/README.md, "More of the world"
        learner=replace(cpu.learner, total_steps=1_600),
        probe_every=600,
        checkpoint_every=600,
    )
    quick_saccade = replace(
        cpu,
        world="saccade",
        agent="saliency",
        saccade=SaccadeOptions(images="landscapes"),
        learner=replace(cpu.learner, total_steps=3_600),
    )
    return {
        "quick": ("Five minutes on two cores: 32 x 32 views of turning objects. What `make run` runs.", quick),
        "cpu": ("Under forty minutes on two cores: the same at 64 x 64, for longer.", cpu),
        "quick-saccade": (
            "Five minutes on two cores: saccades over landscapes, by saliency and inhibition of return.",
            quick_saccade,
        ),
        **_paper_presets(),
    }


def _paper_presets() -> dict[str, tuple[str, TrainConfig]]:
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
    paper_saccade = replace(
        paper,
        world="saccade",
        rotation=RotationOptions(),
        saccade=SaccadeOptions(images="", max_amplitude=2.0),  # 16 pixels of inhibition are the priority's default
        agent="saliency",
        num_envs=512,
        episode_steps=4,  # five fixations, then a new image
        glimpses_per_update=2_560.0,
        replay=ReplayOptions(capacity=61_440, context=(4, 4), targets=1, windows="adjacent"),
        model=replace(paper_model, encoder="resnet18-cifar"),
        learner=replace(paper.learner, total_steps=320_000, warmup_steps=3_200),  # 2000 epochs of 80 thousand images
    )
    paper_3diebench = replace(
        paper,
        world="stored-views",
        rotation=RotationOptions(),
        stored=StoredOptions(size=128),
        learner=replace(paper.learner, total_steps=80_000, warmup_steps=1_600),  # 1000 epochs
    )
    return {
        "paper": ("ResNet-18, i.i.d. views at 128 x 128 and the paper's settings; for a GPU.", paper),
        "paper-3diebench": (
            "The same on the published 3DIEBench, which --stored.source PATH names; for a GPU.",
            paper_3diebench,
        ),
        "paper-saccade": (
            "The paper's saccades over STL-10. --saccade.images PATH names its folder, or its unlabeled_X.bin with "
            "--saccade.probe-images for the folder; for a GPU.",
            paper_saccade,
        ),
    }


def make_world(config: TrainConfig, split: Split, *, probing: bool = False) -> World:
    """Return the world of `config` with the objects or images of `split`; as probes look at it where `probing`."""
    if config.world == "rotation":
        return config.rotation.world(split)
    if config.world == "stored-views":
        return config.stored.world(split)
    return config.saccade.world(split, probing=probing)


def model_config(config: TrainConfig, world: World) -> SeqJEPAConfig | BaselineConfig:
    """Return the settings of the model of `config`, with the sizes of `world`."""
    size, _, channels = world.glimpse_space.shape
    options = {f.name: getattr(config.model, f.name) for f in fields(config.model)}
    options |= {"size": size, "channels": channels, "motion_dim": world.motion_space.shape[0]}
    options["motion_kind"] = world.motion_kind
    method, own = options.pop("method"), options.pop("baseline")
    if method == "seq-jepa":
        return SeqJEPAConfig(**options)
    for name in ("memory", *_SEQ_JEPAS_OWN):
        del options[name]
    classes = len(world.class_names) if method == "supervised" else 0
    return BaselineConfig(method, num_classes=classes, options=own, **options)
