"""The baselines of seq-JEPA as recipes: which heads and losses each is composed of, and the settings they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from .encoder import EncoderName
from .motion import MotionKind, check_motion_dim
from .objectives import Objective
from .settings import check_sizes, from_dict

BaselineName = Literal[
    "byol",
    "simclr",
    "vicreg",
    "vicreg-traj",
    "sen",
    "equimod",
    "sie",
    "conditional-byol",
    "conv-jepa",
    "context-ssl",
    "supervised",
]
Sources = Literal["last", "each"]


@dataclass(frozen=True)
class Branch:
    """One comparison of predicted with target embeddings.

    Attributes:
        match: The loss: "cosine" (1 - cos), "mse", or "info-nce" (NT-Xent).
        part: Which dimensions of z it sees: "all", or the "first" or "second" half.
        project: Whether a projector stands between z and the comparison.
        predictor: What turns a view's projection into the prediction: "none", "plain" (sees no motion), "motion" (the
            embedded motion beside it), "hypernetwork" (the motion gives the matrix) or "context" (a transformer over
            the pairs of the window).
        ema: Whether targets come from EMA copies of encoder and projector, without gradient.
        weight: Of its loss.
    """

    match: Literal["cosine", "mse", "info-nce"]
    part: Literal["all", "first", "second"] = "all"
    project: bool = True
    predictor: Literal["none", "plain", "motion", "hypernetwork", "context"] = "none"
    ema: bool = False
    weight: float = 1.0

    @property
    def sees_motion(self) -> bool:
        """Whether its prediction depends on the motion."""
        return self.predictor in ("motion", "hypernetwork", "context")


@dataclass(frozen=True)
class Recipe:
    """A method: its branches by name, and the weights of further terms.

    Attributes:
        branches: By name, which is also the name of its term in the logs.
        variance: Weight of the variance term on the projections of all branches side by side, and, as in SIE, on
            predictions from a motion.
        covariance: Weight of the covariance term on the projections of all branches side by side.
        trajectory: Weight of the trajectory term, on z of all views of the window in their order.
        inverse: Weight of the regression of each motion from the z of both views.
        label: Weight of the classification of each z; needs labels, which are privileged.
        sources: Which context views are paired with the targets: the "last" alone, or "each".
        temperature: Of InfoNCE.
    """

    branches: Mapping[str, Branch]
    variance: float = 0.0
    covariance: float = 0.0
    trajectory: float = 0.0
    inverse: float = 0.0
    label: float = 0.0
    sources: Sources = "last"
    temperature: float | None = None

    @property
    def ema(self) -> bool:
        """Whether targets come from an EMA copy of the encoder."""
        return any(branch.ema for branch in self.branches.values())

    @property
    def projects(self) -> bool:
        """Whether some branch has a projector."""
        return any(branch.project for branch in self.branches.values())


_VICREG = {"invariance": Branch("mse", weight=10.0)}

RECIPES: dict[BaselineName, Recipe] = {
    # Grill et al. 2020. One direction of each pair: windows hold views in random order, so the other comes as often.
    "byol": Recipe({"invariance": Branch("cosine", predictor="plain", ema=True)}),
    # Chen et al. 2020.
    "simclr": Recipe({"invariance": Branch("info-nce")}, temperature=0.5),
    # Bardes et al. 2022, with the weights of seq-JEPA, appendix.
    "vicreg": Recipe(_VICREG, variance=10.0, covariance=1.0),
    # Wang, Chen and Yu 2024.
    "vicreg-traj": Recipe(_VICREG, variance=10.0, covariance=1.0, trajectory=0.01),
    # Park et al. 2022, as SIE's authors compare it: contrastive on the transformed embedding.
    "sen": Recipe({"equivariance": Branch("info-nce", predictor="motion")}, temperature=0.5),
    # Devillers and Lefort 2023, on SimCLR.
    "equimod": Recipe(
        {"invariance": Branch("info-nce"), "equivariance": Branch("info-nce", predictor="motion")}, temperature=0.1
    ),
    # Garrido et al. 2023: weights 10, 4.5, 10 and 1; their code has the 4.5 as a factor of 0.45 on 10.
    "sie": Recipe(
        {
            "invariance": Branch("mse", part="first", weight=10.0),
            "equivariance": Branch("mse", part="second", predictor="hypernetwork", weight=4.5),
        },
        variance=10.0,
        covariance=1.0,
    ),
    "conditional-byol": Recipe({"equivariance": Branch("cosine", predictor="motion", ema=True)}),
    # seq-JEPA, section 4: from each earlier patch alone, without the aggregator.
    "conv-jepa": Recipe(
        {"equivariance": Branch("cosine", project=False, predictor="motion", ema=True)}, sources="each"
    ),
    # Gupta et al. 2024: predicts the target and, as a second predictor, the motion.
    "context-ssl": Recipe(
        {"equivariance": Branch("info-nce", project=False, predictor="context")},
        inverse=1.0,
        sources="each",
        temperature=0.5,
    ),
    # The ceiling: told the class of each view and the motion between two.
    "supervised": Recipe({}, inverse=1.0, label=1.0),
}


@dataclass(frozen=True)
class BaselineOptions:
    """What the baselines have and seq-JEPA has not."""

    projector: tuple[int, ...] = (512, 512, 512)
    """Widths of the projector's layers; each half of a split z gets half of them. The paper, for 512-d embeddings:
    2048 2048 2048, of EquiMod 1024 1024 128."""
    temperature: float | None = None
    """Of InfoNCE; None is the method's own: 0.5, of EquiMod 0.1."""
    sources: Sources | None = None
    """Context views paired with the targets: the "last" alone, or "each"; None is the method's own: "last", of
    Conv-JEPA and ContextSSL "each"."""

    equivariance: float | None = None
    """Weight of the equivariant term relative to the invariant one, for methods with both; None is the method's own: 1
    for EquiMod, 0.45 for SIE."""
    projected_variance: float | None = None
    """Weight of the variance term on the projections of VICReg and SIE; None is the method's own, 10."""

    def __post_init__(self) -> None:
        if self.equivariance is not None and self.equivariance <= 0:
            raise ValueError(f"equivariance is a weight and must be above 0, got {self.equivariance}")
        if self.projected_variance is not None and self.projected_variance <= 0:
            raise ValueError(f"projected_variance is a weight and must be above 0, got {self.projected_variance}")
        if not self.projector or min(self.projector) < 2:
            raise ValueError(f"projector needs at least one width, each at least 2, got {self.projector}")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        if self.sources is not None and self.sources not in get_args(Sources):
            raise ValueError(f"sources must be one of {get_args(Sources)}, got {self.sources!r}")

    def check_effect(self, method: BaselineName) -> None:
        """Raise ValueError if an option that is set has no effect on `method`."""
        recipe, default = RECIPES[method], BaselineOptions()
        idle = []
        if not recipe.projects and self.projector != default.projector:
            idle.append("projector")
        if recipe.temperature is None and self.temperature is not None:
            idle.append("temperature")
        if len(recipe.branches) < 2 and self.equivariance is not None:
            idle.append("equivariance")
        if not recipe.variance and self.projected_variance is not None:
            idle.append("projected_variance")
        if method == "context-ssl" and self.sources not in (None, "each"):
            raise ValueError('context-ssl needs all of the context: leave sources out, or set it to "each"')
        if idle:
            raise ValueError(f"{' and '.join(idle)} has no effect with method {method}: leave it out")


@dataclass(frozen=True)
class BaselineConfig:
    """Everything that a `Baseline` is built from, JSON-able by `to_dict`.

    Attributes:
        method: Which recipe.
        encoder, size, channels, z_dim, motion_dim, motion_embedding: As in `SeqJEPAConfig`.
        predictor_hidden, predictor_layers: As there, of the methods that have a perceptron for a predictor.
        motion_kind: How motions compose.
        layers, heads, dropout: Of the transformer of "context-ssl".
        num_classes: Classes of "supervised"; 0 for all others.
        options: What only the baselines have.
        objective: Variance and covariance terms on z, the same additions that seq-JEPA may have; and whether
            targets are standardised, for methods whose loss is a cosine.

    Raises:
        ValueError: A value is out of range, or has no effect with the method.
    """

    method: BaselineName
    encoder: EncoderName = "small"
    size: int | None = 32
    channels: int = 3
    z_dim: int = 128
    motion_dim: int = 4
    motion_kind: MotionKind = "rotation"
    motion_embedding: int = 128
    layers: int = 3
    heads: int = 4
    dropout: float = 0.1
    predictor_hidden: int = 1024
    predictor_layers: int = 1
    num_classes: int = 0
    options: BaselineOptions = field(default_factory=BaselineOptions)
    objective: Objective = field(default_factory=Objective.paper)

    def __post_init__(self) -> None:
        if self.method not in RECIPES:
            raise ValueError(f"method must be one of {tuple(RECIPES)}, got {self.method!r}")
        check_sizes(self)
        check_motion_dim(self.motion_kind, self.motion_dim)
        if bool(self.recipe.label) != (self.num_classes > 0):
            raise ValueError(f'num_classes must be above 0 for method "supervised" and 0 for others, got {self}')
        self.options.check_effect(self.method)
        self.objective.check_effect(self.method)

    @property
    def recipe(self) -> Recipe:
        """What the method is composed of."""
        return RECIPES[self.method]

    @property
    def sources(self) -> Sources:
        """Which context views are paired with the targets."""
        return self.options.sources or self.recipe.sources

    @property
    def temperature(self) -> float:
        """Of InfoNCE; 1 where there is none."""
        return self.options.temperature or self.recipe.temperature or 1.0

    @property
    def projected_variance(self) -> float:
        """Weight of the variance term on the projections."""
        return self.options.projected_variance or self.recipe.variance

    def weight(self, branch: str) -> float:
        """Return the weight of a branch's loss."""
        branches, ratio = self.recipe.branches, self.options.equivariance
        if ratio is None or branch != "equivariance":
            return branches[branch].weight
        return ratio * branches["invariance"].weight

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a nested dict of JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> BaselineConfig:
        """Return the config that `to_dict` made `settings` of.

        Raises:
            ValueError: A setting is unknown.
        """
        return from_dict(cls, settings)
