"""seq-JEPA: a world model as verbs — encode, aggregate, predict, rollout — and one loss that trains them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .aggregator import Aggregator, MotionEmbedding, Predictor
from .heads import InstanceContrast
from .memory import PathMemory
from .motion_tensors import motions_to_last
from .objectives import TargetStatistics, cosine_loss, standardize
from .protocol import WorldModel, window_shape
from .reference import own_key, reference_config
from .settings import SeqJEPAConfig

__all__ = ["SeqJEPA", "SeqJEPAConfig", "SeqJEPAOutput"]


class SeqJEPAOutput(NamedTuple):
    """What `SeqJEPA.forward` returns; K is absent from `prediction` and `target` if `num_targets` was None.

    Attributes:
        loss: The objective, float32 scalar.
        z: Online embeddings of the context, (B, M, D).
        z_agg: The aggregate of the context, (B, E).
        prediction: Predicted targets, (B, K, D).
        target: What the predictions are scored against, (B, K, D), no gradient: embeddings by the target encoder,
            standardised if the objective says so.
        terms: Unweighted terms of the loss by name, detached float32 scalars.
    """

    loss: Tensor
    z: Tensor
    z_agg: Tensor
    prediction: Tensor
    target: Tensor
    terms: dict[str, Tensor]


class PathBatch(NamedTuple):
    """`paths.Paths` as tensors on the model's device: see there."""

    views: Tensor
    motions: Tensor
    places_back: Tensor
    motions_back: Tensor


class SeqJEPA(WorldModel):
    """seq-JEPA (Ghaemi et al. 2025): predict the embedding of a view from earlier views and the motions between them.

    Where the published code departs from the paper, this follows the paper: motions are normalised over real ones only
    and in one call, and the target encoder's BatchNorm statistics follow the online encoder's by EMA as its weights do.

    Args:
        config: Sizes, conditioning and objective.
    """

    config: SeqJEPAConfig

    memory: PathMemory | None

    def __init__(self, config: SeqJEPAConfig) -> None:
        super().__init__(config, ema=config.target_encoder == "ema")
        self.config = config
        self.motion_embedding: MotionEmbedding | None = None
        if config.aggregator_sees_motion or config.predictor_sees_motion:
            self.motion_embedding = MotionEmbedding(config.motion_dim, config.motion_embedding)
        self.aggregator = Aggregator(
            config.token_dim, config.layers, config.heads, config.dropout, from_mean=config.agg_token == "mean"
        )
        embedding_dim = config.motion_embedding * config.predictor_sees_motion
        sizes = config.predictor_hidden, config.z_dim, config.predictor_layers
        self.predictor = Predictor(config.token_dim, embedding_dim, *sizes)
        self.target_statistics = TargetStatistics(config.z_dim, config.objective.standardize_targets)
        # What is optional comes last, so that all else starts with the weights it has without.
        self.instance_contrast: InstanceContrast | None = None
        if config.objective.instance:
            self.instance_contrast = InstanceContrast(config.token_dim, config.z_dim, config.predictor_hidden)
        if config.memory.layers:
            self.memory = PathMemory(config.memory, config.z_dim, config.motion_dim, config.motion_embedding)

    def aggregate(self, z: Tensor, motions: Tensor) -> Tensor:
        """Return z_agg (B, E).

        Args:
            z: Embeddings of M >= 1 views, (B, M, D).
            motions: motions[:, i] leads from view i to view i + 1, (B, M-1, A).

        Raises:
            ValueError: Shapes do not fit.
        """
        self._check_embeddings(z)
        self._check_motions(motions, (len(z), z.shape[1] - 1), "motions between the views")
        return self.aggregator(z, self._embed(motions, motions[:, :0])[0])

    def predict(self, z_agg: Tensor, motion: Tensor) -> Tensor:
        """Return the predicted embedding after `motion` from the last view: (B, D), or (B, K, D) for K motions.

        Predictions live where the objective scores them: compare them by cosine with `as_target(encode_target(...))`.

        Args:
            z_agg: The aggregate of the views so far, (B, E).
            motion: (B, A), or K motions that share one context, (B, K, A).

        Raises:
            ValueError: Shapes do not fit.
        """
        if z_agg.ndim != 2 or z_agg.shape[1] != self.config.token_dim:
            raise ValueError(f"z_agg must be (B, {self.config.token_dim}), got {tuple(z_agg.shape)}")
        if motion.ndim == 2:
            return self.predict(z_agg, motion[:, None])[:, 0]
        self._check_motions(motion, (len(z_agg), *motion.shape[1:2]), "motion to the target")
        return self._predict(z_agg, self._embed(motion[:, :0], motion)[1], motion.shape[1])

    def predict_from(self, z: Tensor, motions: Tensor, ahead: Tensor) -> Tensor:
        """Return `predict` (B, D), or (B, K, D), of what `aggregate` makes of the views: see `WorldModel`."""
        return self.predict(self.aggregate(z, motions), ahead)

    def recall(self, z: Tensor, motions: Tensor, motion: Tensor) -> Tensor:
        """Return what the path memory expects after `motion` leads back to an earlier view: (B, D), or (B, K, D).

        Compare with `as_target(encode_target(...))` of the earlier views by cosine, as predictions are.

        Args:
            z: Embeddings of 1 <= M <= `config.memory.longest` views, (B, M, D).
            motions: Motions between them, (B, M-1, A).
            motion: From the last view on, (B, A), or K of them, (B, K, A).

        Raises:
            ValueError: The model has no path memory, or shapes do not fit.
        """
        memory = self._require_memory()
        if motion.ndim == 2:
            return self.recall(z, motions, motion[:, None])[:, 0]
        self._check_embeddings(z)
        views = z.shape[1]
        self._check_motions(motions, (len(z), views - 1), "motions between the views")
        self._check_motions(motion, (len(z), *motion.shape[1:2]), "motion back")
        seen = torch.full((motion.shape[1],), views, device=z.device)
        return memory(self.target_statistics.standardized_z(z), motions, motion, seen)

    def rollout(self, z: Tensor, motions: Tensor, future_motions: Tensor) -> Tensor:
        """Return predictions (B, K, H, D) along K candidate futures of H motions that share one context.

        Each prediction joins its candidate's tokens by way of `as_token`. Predictions are returned as `predict` does.

        Args:
            z: Embeddings of M >= 1 views, (B, M, D).
            motions: Motions between them, (B, M-1, A).
            future_motions: Motions from the last view on, (B, K, H, A), H >= 1.

        Raises:
            ValueError: Shapes do not fit.
        """
        self._check_embeddings(z)
        batch, views = z.shape[:2]
        self._check_motions(motions, (batch, views - 1), "motions between the views")
        if future_motions.ndim != 4 or future_motions.shape[2] < 1:
            raise ValueError(f"future_motions must be (B, K, H, A) with H >= 1, got {tuple(future_motions.shape)}")
        candidates, horizon = future_motions.shape[1:3]
        self._check_motions(future_motions, (batch, candidates, horizon), "future motions")
        past, future = self._embed_for_rollout(motions, future_motions)

        z_agg = self.aggregator(z, past if self.config.aggregator_sees_motion else None)  # (B, E)
        predictions = [self._predict(z_agg, None if future is None else future[:, :, 0], candidates)]  # (B, K, D)
        if horizon == 1:
            return predictions[0][:, :, None]
        tokens = z.repeat_interleave(candidates, 0)  # (B K, M, D)
        if past is not None and future is not None:
            past, future = past.repeat_interleave(candidates, 0), future.flatten(0, 1)  # (B K, M-1, ·), (B K, H, ·)
        for step in range(1, horizon):
            tokens = torch.cat([tokens, self.as_token(predictions[-1]).to(z.dtype).flatten(0, 1)[:, None]], dim=1)
            steps, ahead = None, None
            if self.config.tokens == "pose":  # seen from the newest view, each pose changes with every step
                moved = [motions.repeat_interleave(candidates, 0), future_motions[:, :, :step].flatten(0, 1)]
                steps, ahead = self._embed(torch.cat(moved, dim=1), future_motions[:, :, step].flatten(0, 1)[:, None])
            elif past is not None and future is not None:
                steps, ahead = torch.cat([past, future[:, :step]], dim=1), future[:, step : step + 1]
            z_agg = self.aggregator(tokens, steps if self.config.aggregator_sees_motion else None)  # (B K, E)
            predictions.append(self._predict(z_agg, ahead, 1).reshape(batch, candidates, -1))
        return torch.stack(predictions, dim=2)

    def forward(
        self, views: Tensor, motions: Tensor, num_targets: int | None = None, paths: PathBatch | None = None
    ) -> SeqJEPAOutput:
        """Predict the last view, or the last K, from the M before and return the loss with all that led to it.

        Args:
            views: (B, M+1, C, H, W) float, or (B, M+K, C, H, W) with `num_targets` = K: M context views, then targets.
            motions: (B, M, A), or (B, M-1+K, A): M-1 motions between context views, then one from view M to each
                target.
            num_targets: K, or None for one target without the K axis.
            paths: Paths through the views, for a model with a path memory: adds the term "recall", 1 - cos between
                what the memory recalls and the views there. No gradient of it reaches the encoder, so the memory learns
                to use what vision sees and cannot change it.

        Raises:
            ValueError: Shapes do not fit, paths are given to a model without a path memory, or a batch of one is given
                in training, where BatchNorm needs two.
        """
        context, targets = window_shape(views, num_targets)
        self._check_motions(motions, (len(views), context - 1 + targets), "motions (M - 1 in the context, then K)")
        if self.training and len(views) < 2:
            raise ValueError("training needs a batch of at least 2 windows for BatchNorm: pass more, or call eval()")
        z, encoded = self._encode_window(views, context)
        raw = encoded.detach()
        between, ahead = self._embed(motions[:, : context - 1], motions[:, context - 1 :])
        z_agg = self.aggregator(z, between)
        prediction = self._predict(z_agg, ahead, targets)
        if self.training:
            self.target_statistics.observe(raw)
        if self.training and self.config.objective.standardize_targets:
            target = standardize(encoded)
        else:
            target = self.as_target(encoded)
        instance = None
        if self.instance_contrast is not None:
            instance = self.instance_contrast(z_agg, torch.cat([z, encoded], dim=1), targets)
        loss, terms = self.config.objective(prediction, target, z, instance)
        if paths is not None:
            # A call of its own, or the targets' BatchNorm would see other batches than without a path memory.
            seen = z.detach() if self.target_encoder is None else self.encode_target(views[:, :context])
            embeddings = torch.cat([seen, raw], dim=1)
            recall = self._recall_loss(embeddings.flatten(0, 1), paths)
            loss, terms = loss + recall, terms | {"recall": recall.detach()}
        target = target.detach()
        if num_targets is None:
            prediction, target = prediction[:, 0], target[:, 0]
        return SeqJEPAOutput(loss, z, z_agg, prediction, target, terms)

    def as_target(self, z: Tensor) -> Tensor:
        """Return target embeddings (..., D) in the space where predictions are scored: standardised, or as they are."""
        return self.target_statistics.as_target(z)

    def as_token(self, prediction: Tensor) -> Tensor:
        """Return predictions (..., D) as embeddings with the norm, mean and spread that targets have in training.

        A model that was never trained here, such as one of `from_reference`, has yet to see targets: show it some by
        `model.target_statistics.observe(model.encode_target(views))`.
        """
        return self.target_statistics.as_token(prediction)

    @classmethod
    def from_reference(cls, state_dict: Mapping[str, Tensor], heads: int = 4) -> SeqJEPA:
        """Return a model with the weights of a published seq-JEPA checkpoint; its sizes are read off the shapes.

        Args:
            state_dict: The published model's, with or without the "module." prefix of DataParallel.
            heads: Attention heads, which no shape tells; 4 in the paper.

        Raises:
            ValueError: Keys are missing or unexpected, or shapes do not fit each other.
        """
        weights = {own_key(key): value for key, value in state_dict.items()}
        model = cls(reference_config(weights, heads))
        kept = {key for key in model.state_dict() if not key.startswith("target_statistics.")}
        counters = {key for key in kept if key.endswith("num_batches_tracked")}
        missing, unexpected = sorted(kept - counters - set(weights)), sorted(set(weights) - kept)
        if missing or unexpected:
            raise ValueError(f"not a published seq-JEPA checkpoint: missing {missing}, unexpected {unexpected}")
        try:
            model.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            raise ValueError(f"shapes of the published checkpoint do not fit each other: {error}") from error
        return model

    def token_motions(self, motions: Tensor) -> Tensor:
        """Return what the tokens of all views but the last carry, before it is embedded, (B, M-1, A).

        Args:
            motions: Motions between the M views, (B, M-1, A).
        """
        if self.config.tokens == "step" or self.config.motion_kind is None:
            return motions
        return motions_to_last(self.config.motion_kind, motions)

    def _encode_window(self, views: Tensor, context: int) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, M, D) of the context views and (B, K, D) of the targets, by the encoders of each."""
        if self.target_encoder is None:  # in one call, so that both are normalised alike
            z = self.encode(views)
            return z[:, :context], z[:, context:]
        target = self.encode_target(views[:, context:])
        return self.encode(views[:, :context]), target

    def _recall_loss(self, z: Tensor, paths: PathBatch) -> Tensor:
        """Return the loss of `paths` through views with embeddings (T, D) by the target encoder."""
        memory = self._require_memory()
        seen = torch.arange(2, paths.views.shape[1] + 1, device=z.device)
        tokens = self.target_statistics.standardized_z(z)[paths.views]  # (P, L, D)
        recalled = memory(tokens, paths.motions, paths.motions_back, seen)
        return cosine_loss(recalled, self.as_target(z)[paths.views.gather(1, paths.places_back)])

    def _require_memory(self) -> PathMemory:
        if self.memory is None:
            raise ValueError("this model has no path memory: build it with memory.layers of 1 or more")
        return self.memory

    def _embed(self, context: Tensor, targets: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Embed what the tokens and the predictor will see, in one BatchNorm call; None where they see nothing."""
        if self.motion_embedding is None:
            return None, None
        if not self.config.aggregator_sees_motion:
            return None, self.motion_embedding(targets)
        context = self.token_motions(context)
        if not self.config.predictor_sees_motion:
            return self.motion_embedding(context), None
        embedded = self.motion_embedding(torch.cat([context, targets], dim=1))
        return embedded[:, : context.shape[1]], embedded[:, context.shape[1] :]

    def _embed_for_rollout(self, motions: Tensor, future_motions: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Embed past (B, M-1, A) and future (B, K, H, A): a future motion goes to the predictor, then into a token."""
        if self.motion_embedding is None:
            return None, None
        embedded = self.motion_embedding(torch.cat([self.token_motions(motions), future_motions.flatten(1, 2)], dim=1))
        past, future = embedded[:, : motions.shape[1]], embedded[:, motions.shape[1] :]
        return past, future.unflatten(1, future_motions.shape[1:3])

    def _predict(self, z_agg: Tensor, embedded: Tensor | None, count: int) -> Tensor:
        """Return predictions (B, count, D), all the same where the predictor sees no motion."""
        prediction = self.predictor(z_agg, embedded if self.config.predictor_sees_motion else None)
        return prediction.expand(-1, count, -1)

    def _check_embeddings(self, z: Tensor) -> None:
        if z.ndim != 3 or z.shape[1] < 1 or z.shape[2] != self.config.z_dim:
            raise ValueError(f"z must be (B, M, {self.config.z_dim}) with M >= 1, got {tuple(z.shape)}")

    def _check_motions(self, motions: Tensor, leading: tuple[int, ...], name: str) -> None:
        dim = self.config.motion_dim
        if motions.ndim != len(leading) + 1 or motions.shape[:-1] != leading or (dim and motions.shape[-1] != dim):
            expected = (*leading, dim or "any")
            raise ValueError(f"{name} must be {expected}, got {tuple(motions.shape)}: check M, K and motion_dim")
