"""Any baseline as a composition: an encoder, the heads and the losses of its recipe, and the verbs of a world model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .heads import ContextPredictor, HypernetworkPredictor, InverseDynamics, PairPredictor, Projector
from .matching import info_nce, mean_squared_error, paired_covariance, paired_variance, trajectory_term
from .motion_tensors import motions_ahead
from .objectives import TargetStatistics, cosine_loss, covariance_term, standardize, variance_term
from .protocol import WorldModel, ema_copy, window_shape
from .recipes import BaselineConfig, Branch


class BaselineOutput(NamedTuple):
    """What `Baseline.forward` returns.

    Attributes:
        loss: Weighted sum of the terms, float32 scalar.
        z: Online embeddings, (B, T, D): of the source views, and of the targets where these have a gradient.
        terms: Unweighted terms of the loss by name, detached float32 scalars.
    """

    loss: Tensor
    z: Tensor
    terms: dict[str, Tensor]


class Pairs(NamedTuple):
    """Source views and targets of a batch of windows.

    Attributes:
        source: Embeddings of the last S context views, (B, S, D).
        target: Embeddings of the targets, (B, K, D): online where they have a gradient, else of the EMA encoder.
        between: Motions from each source to the next, (B, S-1, A).
        ahead: Motions from each source to each target, (B, S, K, A).
    """

    source: Tensor
    target: Tensor
    between: Tensor
    ahead: Tensor


class Compared(NamedTuple):
    """What a branch compares: `projected` sources (B, S, P), `target` (B, K, P), `prediction` (B, S, K, P)."""

    projected: Tensor
    target: Tensor
    prediction: Tensor


class BranchHeads(nn.Module):
    """The projector and the predictor of one branch.

    Args:
        branch: What it is.
        config: The sizes.
    """

    def __init__(self, branch: Branch, config: BaselineConfig) -> None:
        super().__init__()
        self.branch = branch
        half = config.z_dim // 2
        self.span = {"all": slice(None), "first": slice(half), "second": slice(half, None)}[branch.part]
        dim = len(range(config.z_dim)[self.span])
        self.projector: Projector | None = None
        if branch.project:
            share = 1 if branch.part == "all" else 2
            widths = [width // share for width in config.options.projector]
            self.projector, dim = Projector(dim, widths), widths[-1]
        self.target_projector = ema_copy(self.projector) if branch.ema and self.projector is not None else None
        self.predictor = _make_predictor(branch, config, dim)
        self.target_statistics = TargetStatistics(
            dim, branch.match == "cosine" and config.objective.standardize_targets
        )

    def project(self, z: Tensor) -> Tensor:
        """Return projections (..., P) of online embeddings (..., D)."""
        part = z[..., self.span]
        return part if self.projector is None else self.projector(part)

    def project_target(self, z: Tensor) -> Tensor:
        """Return projections (..., P) of target embeddings (..., D)."""
        if self.target_projector is None:
            return self.project(z)
        with torch.no_grad():
            return self.target_projector(z[..., self.span])

    def predict(self, projected: Tensor, between: Tensor, ahead: Tensor) -> Tensor:
        """Return predictions (B, S, K, P): see `PairPredictor.forward`; without a predictor, the projections."""
        if self.predictor is None:
            return projected[:, -ahead.shape[1] :, None].expand(-1, -1, ahead.shape[2], -1)
        return self.predictor(projected, between, ahead)

    def compare(self, pairs: Pairs) -> Compared:
        """Return projections, targets and predictions of `pairs`; in training, see to the targets' statistics."""
        projected, target = self.project(pairs.source), self.project_target(pairs.target)
        if self.training:
            self.target_statistics.observe(target.detach())
        if self.target_statistics.standardized:
            target = standardize(target) if self.training else self.target_statistics.as_target(target)
        return Compared(projected, target, self.predict(projected, pairs.between, pairs.ahead))

    def match(self, compared: Compared, temperature: float) -> Tensor:
        """Return the branch's loss, a float32 scalar."""
        prediction = compared.prediction  # (B, S, K, P)
        target = compared.target[:, None].expand_as(prediction)
        if self.branch.match == "info-nce":
            return info_nce(prediction.flatten(1, 2), target.flatten(1, 2), temperature)
        return (cosine_loss if self.branch.match == "cosine" else mean_squared_error)(prediction, target)


class Baseline(WorldModel):
    """A baseline of seq-JEPA, composed by its recipe and trained on the same windows by the same `Learner`.

    From a window of M context views and K targets it makes the pairs (view M, target k), or (view m, target k) for
    every m. Where both sides of a pair need a gradient, targets are encoded by the online encoder, which costs as much
    as encoding context views. Context views that no pair needs are not encoded.

    Args:
        config: Method, sizes and objective.
    """

    config: BaselineConfig

    def __init__(self, config: BaselineConfig) -> None:
        recipe = config.recipe
        super().__init__(config, ema=recipe.ema)
        self.config = config
        self.branches = nn.ModuleDict({name: BranchHeads(branch, config) for name, branch in recipe.branches.items()})
        self.inverse: InverseDynamics | None = None
        if recipe.inverse:
            self.inverse = InverseDynamics(config.z_dim, config.motion_dim, config.predictor_hidden)
        self.classifier = nn.Linear(config.z_dim, config.num_classes) if recipe.label else None
        self.needs_labels = recipe.label > 0
        self._predicting = next((name for name, branch in recipe.branches.items() if branch.sees_motion), None)
        self.predicts = self._predicting is not None

    def forward(
        self, views: Tensor, motions: Tensor, num_targets: int | None = None, labels: Tensor | None = None
    ) -> BaselineOutput:
        """Return the loss of a batch of windows and what led to it.

        Args:
            views: (B, M+K, C, H, W) float: M context views, then K targets.
            motions: (B, M-1+K, A): M-1 motions between context views, then one from view M to each target.
            num_targets: K; None is 1.
            labels: (B,) int64 class of each window, for a method that needs them.

        Raises:
            ValueError: Shapes do not fit, labels are missing, or a batch of one is given in training.
        """
        context, targets = window_shape(views, num_targets)
        expected = (len(views), context - 1 + targets, self.config.motion_dim)
        if motions.shape != expected:
            raise ValueError(f"motions must be {expected} (M - 1 in the context, then K), got {tuple(motions.shape)}")
        if self.training and len(views) < 2:
            raise ValueError("training needs a batch of at least 2 windows for BatchNorm: pass more, or call eval()")
        if self.needs_labels and labels is None:
            raise ValueError(f"method {self.config.method} needs the label of each window: pass labels")
        pairs, z = self._pairs(views, motions, context)
        compared = {name: self.heads(name).compare(pairs) for name in self.branches}
        terms = self._branch_terms(compared) | self._spread_terms(compared) | self._z_terms(pairs, z)
        if self.classifier is not None and labels is not None:
            logits = self.classifier(z).float()
            loss = F.cross_entropy(logits.flatten(0, 1), labels[:, None].expand(logits.shape[:2]).flatten())
            terms["label"] = (self.config.recipe.label, loss)
        total = torch.stack([weight * term for weight, term in terms.values()]).sum()
        return BaselineOutput(total, z, {name: term.detach() for name, (_, term) in terms.items()})

    def heads(self, name: str) -> BranchHeads:
        """Return the heads of a branch."""
        heads = self.branches[name]
        assert isinstance(heads, BranchHeads)
        return heads

    def predict_from(self, z: Tensor, motions: Tensor, ahead: Tensor) -> Tensor:
        """Return predictions (B, P), or (B, K, P), from M views: see `WorldModel`.

        Methods that predict from one view use the last one.

        Raises:
            ValueError: The method predicts nothing from a motion.
        """
        if ahead.ndim == 2:
            return self.predict_from(z, motions, ahead[:, None])[:, 0]
        heads = self._predicting_heads()
        needed = z.shape[1] if heads.branch.predictor == "context" else 1
        projected = heads.project(z[:, -needed:])
        between = motions[:, motions.shape[1] - needed + 1 :]
        return heads.predict(projected, between, ahead[:, None])[:, -1]

    def as_target(self, z: Tensor) -> Tensor:
        """Return target embeddings (..., D) as (..., P), projected to where this method compares its predictions."""
        heads = self._predicting_heads()
        return heads.target_statistics.as_target(heads.project_target(z))

    def _predicting_heads(self) -> BranchHeads:
        if self._predicting is None:
            raise ValueError(f"method {self.config.method} predicts nothing from a motion: check `predicts` first")
        return self.heads(self._predicting)

    def _ema_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        copies = [(heads.target_projector, heads.projector) for heads in map(self.heads, self.branches)]
        projectors = [(copy, own) for copy, own in copies if copy is not None and own is not None]
        return [*super()._ema_pairs(), *projectors]

    def _sources(self, context: int) -> int:
        # A trajectory needs every view of the window.
        return context if self.config.sources == "each" or self.config.recipe.trajectory else 1

    def _pairs(self, views: Tensor, motions: Tensor, context: int) -> tuple[Pairs, Tensor]:
        """Encode the sources and targets of windows; return them as pairs, and all online embeddings (B, T, D)."""
        first = context - self._sources(context)
        if self.target_encoder is None:
            z = self.encode(views[:, first:])
            source, target = z[:, : context - first], z[:, context - first :]
        else:
            target = self.encode_target(views[:, context:])
            source = z = self.encode(views[:, first:context])
        if self.config.sources == "last":
            source, first = source[:, -1:], context - 1
        between = motions[:, first : context - 1]
        ahead = motions_ahead(self.config.motion_kind, between, motions[:, context - 1 :])
        return Pairs(source, target, between, ahead), z

    def _branch_terms(self, compared: dict[str, Compared]) -> dict[str, tuple[float, Tensor]]:
        """Return weight and value of each branch's loss."""
        terms = {}
        for name, what in compared.items():
            terms[name] = (self.config.weight(name), self.heads(name).match(what, self.config.temperature))
        return terms

    def _spread_terms(self, compared: dict[str, Compared]) -> dict[str, tuple[float, Tensor]]:
        """Return weight and value of the terms on the projections of all branches, side by side."""
        recipe, terms = self.config.recipe, {}
        if not recipe.variance and not recipe.covariance:
            return terms
        source = torch.cat([what.projected for what in compared.values()], dim=-1)
        target = torch.cat([what.target for what in compared.values()], dim=-1)
        if recipe.variance:
            predicted = [compared[n].prediction for n, branch in recipe.branches.items() if branch.sees_motion]
            variance = paired_variance(source, target)
            for prediction in predicted:
                variance = variance + variance_term(prediction) / 2
            terms["projected_variance"] = (self.config.projected_variance, variance)
        if recipe.covariance:
            terms["projected_covariance"] = (recipe.covariance, paired_covariance(source, target))
        return terms

    def _z_terms(self, pairs: Pairs, z: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Return weight and value of the terms on z."""
        recipe, objective, terms = self.config.recipe, self.config.objective, {}
        if recipe.trajectory:
            terms["trajectory"] = (recipe.trajectory, trajectory_term(z))
        if self.inverse is not None:
            terms["inverse"] = (recipe.inverse, self.inverse(pairs.source, pairs.target, pairs.ahead))
        if objective.variance:
            terms["variance"] = (objective.variance, variance_term(z))
        if objective.covariance:
            terms["covariance"] = (objective.covariance, covariance_term(z))
        return terms


def _make_predictor(branch: Branch, config: BaselineConfig, dim: int) -> nn.Module | None:
    """Return the predictor that `branch` names, of projections of length `dim`."""
    embedding, hidden, layers = config.motion_embedding, config.predictor_hidden, config.predictor_layers
    if branch.predictor == "plain":
        return PairPredictor(dim, hidden, 0, embedding, layers)
    if branch.predictor == "motion":
        return PairPredictor(dim, hidden, config.motion_dim, embedding, layers)
    if branch.predictor == "hypernetwork":
        return HypernetworkPredictor(dim, config.motion_dim, config.motion_kind)
    if branch.predictor == "context":
        return ContextPredictor(dim, config.motion_dim, embedding, config.layers, config.heads, config.dropout)
    return None
