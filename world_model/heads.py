"""What stands on the encoder beside the paper's parts: projectors, contrasts, predictors of projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .aggregator import Aggregator, MotionEmbedding, Predictor
from .matching import info_nce
from .motion import MotionKind

INSTANCE_TEMPERATURE = 0.2
"""Of the softmax of `InstanceContrast`: what suits SimCLR here."""
QUERIES_AT_ONCE = 128
"""Of `ContextPredictor`: all at once cost K^2, each alone the examples K times."""


class Projector(nn.Module):
    """Linear, BatchNorm, ReLU, … and a last Linear, over rows (..., in_dim).

    Source: Bardes et al. 2022 (VICReg's expander), which SIE and the baselines of seq-JEPA share.

    Args:
        in_dim: Length of what is projected.
        widths: Outputs of each layer, the last of which is the projection's length P.
    """

    def __init__(self, in_dim: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in widths[:-1]:
            layers += [nn.Linear(in_dim, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
            in_dim = width
        self.layers = nn.Sequential(*layers, nn.Linear(in_dim, widths[-1], bias=False))

    def forward(self, z: Tensor) -> Tensor:
        """Return projections (..., P) of `z` (..., in_dim)."""
        return self.layers(z.flatten(0, -2)).unflatten(0, z.shape[:-1])


class InstanceContrast(nn.Module):
    """Asks which of the batch's windows a z, or a z_agg, is of, whatever the motions: what all views of a thing share.

    It is NT-Xent at temperature 0.2, as between two views of an image in SimCLR (Chen et al. 2020), twice: between
    projections of each view of a window and the one after it, the first one after the last; and between projections of
    z_agg and of each target. Views share a projector, z_agg has another.

    Args:
        agg_dim: Length E of z_agg.
        z_dim: Length D of z, and of the projections.
        hidden: Hidden units of the projectors.
    """

    def __init__(self, agg_dim: int, z_dim: int, hidden: int) -> None:
        super().__init__()
        self.of_context = Projector(agg_dim, (hidden, z_dim))
        self.of_view = Projector(z_dim, (hidden, z_dim))

    def forward(self, z_agg: Tensor, z: Tensor, targets: int) -> Tensor:
        """Return the sum of both, a float32 scalar.

        Args:
            z_agg: (B, E).
            z: Raw embeddings of all views of the windows, (B, M + K, D), targets last.
            targets: K.
        """
        views = self.of_view(z)
        asked = views[:, -targets:]
        contexts = self.of_context(z_agg)[:, None].expand_as(asked)
        among_views = info_nce(views, views.roll(1, dims=1), INSTANCE_TEMPERATURE)
        return among_views + info_nce(contexts, asked, INSTANCE_TEMPERATURE)


class Regressor(nn.Module):
    """Linear, ReLU, Linear: the head that reads numbers off features (..., in_dim)."""

    def __init__(self, in_dim: int, hidden: int, out_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out_dim))

    def forward(self, features: Tensor) -> Tensor:
        """Return (..., out_dim)."""
        return self.layers(features)


class InverseDynamics(nn.Module):
    """Regresses the motion between two views from both their embeddings, each of its numbers scaled to variance 1.

    One loss for every kind of motion: quaternions have w >= 0, so those of one rotation are one.

    Args:
        z_dim: Length D of an embedding.
        motion_dim: Length A of a motion.
        hidden: Hidden units.
    """

    def __init__(self, z_dim: int, motion_dim: int, hidden: int) -> None:
        super().__init__()
        self.regressor = Regressor(2 * z_dim, hidden, motion_dim)
        self.scale = nn.BatchNorm1d(motion_dim, affine=False)

    def forward(self, source: Tensor, target: Tensor, motions: Tensor) -> Tensor:
        """Return the mean squared error, 1 for a guess of the mean.

        Args:
            source: (B, S, D).
            target: (B, K, D).
            motions: From each source to each target, (B, S, K, A).
        """
        shape = motions.shape[:3]
        ends = [source[:, :, None].expand(*shape, -1), target[:, None].expand(*shape, -1)]
        guess = self.regressor(torch.cat(ends, dim=-1))
        return F.mse_loss(guess.flatten(0, 2).float(), self.scale(motions.flatten(0, 2).float()))


class PairPredictor(nn.Module):
    """Predicts the projection of a target from that of one view, and from the motion between them where it sees it.

    A perceptron, published with one hidden layer: BYOL's predictor (Grill et al. 2020) and, with the embedded motion
    beside the projection, that of conditional BYOL, SEN, EquiMod and Conv-JEPA.

    Args:
        dim: Length P of a projection.
        hidden: Hidden units.
        motion_dim: Length A of a motion; 0 for a predictor that sees none.
        motion_embedding: Length of an embedded motion.
        layers: Hidden layers.
    """

    def __init__(self, dim: int, hidden: int, motion_dim: int, motion_embedding: int, layers: int = 1) -> None:
        super().__init__()
        self.motion_embedding = MotionEmbedding(motion_dim, motion_embedding) if motion_dim else None
        self.predictor = Predictor(dim, motion_embedding if motion_dim else 0, hidden, dim, layers)

    def forward(self, projected: Tensor, between: Tensor, ahead: Tensor) -> Tensor:
        """Return predictions (B, S, K, P).

        Args:
            projected: Projections of S views, (B, S, P).
            between: Motions from each of them to the next, (B, S-1, A); of no use to a predictor from one view.
            ahead: Motions from each of the last S' <= S views to each target, (B, S', K, A); the rest predict nothing.
        """
        batch, sources, targets = ahead.shape[:3]
        rows = projected[:, -sources:].flatten(0, 1)  # (B S', P)
        embedded = None
        if self.motion_embedding is not None:
            embedded = self.motion_embedding(ahead.flatten(0, 1))  # (B S', K, ·)
        return self.predictor(rows, embedded).expand(-1, targets, -1).unflatten(0, (batch, sources))


class HypernetworkPredictor(nn.Module):
    """Multiplies a projection by a matrix that the motion gives: SIE's predictor, which cannot ignore the motion.

    The matrix is linear in the motion, without bias, W(m) = sum_a m_a W_a, for unit quaternions; so W(m) p is computed
    as sum_a m_a (W_a p), which K motions of one projection share. Translations get a further coordinate of 1, since a
    motion of zero would else predict zero.

    Source: Garrido et al. 2023 (SIE), section 4 and their linear hypernetwork.

    Args:
        dim: Length P of a projection.
        motion_dim: Length A of a motion.
        motion_kind: How motions compose.
    """

    def __init__(self, dim: int, motion_dim: int, motion_kind: MotionKind) -> None:
        super().__init__()
        self.homogeneous = motion_kind == "translation"
        self.matrices = nn.Linear(dim, dim * (motion_dim + self.homogeneous), bias=False)

    def forward(self, projected: Tensor, between: Tensor, ahead: Tensor) -> Tensor:
        """Return predictions (B, S', K, P); see `PairPredictor.forward`."""
        motions = F.pad(ahead, (0, 1), value=1.0) if self.homogeneous else ahead
        moved = self.matrices(projected[:, -ahead.shape[1] :]).unflatten(-1, (motions.shape[-1], -1))  # (B, S', A, P)
        return motions.to(moved.dtype) @ moved


class ContextPredictor(nn.Module):
    """A transformer over the pairs seen so far and a query, [view; motion; next view] and [last view; motion; 0].

    The idea of ContextSSL (Gupta et al. 2024): what to be equivariant to is read from examples of states, actions and
    next states in context. Theirs come from other objects; here they are the window's own, so that every method is
    given the same views. There is no positional encoding: each token is a whole example.

    Args:
        dim: Length P of a projection.
        motion_dim: Length A of a motion.
        motion_embedding: Length of an embedded motion.
        layers: Transformer layers.
        heads: Attention heads; must divide 2 P + the length of an embedded motion.
        dropout: Probability of dropout.

    Raises:
        ValueError: `heads` does not divide the length of a token.
    """

    def __init__(
        self, dim: int, motion_dim: int, motion_embedding: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.motion_embedding = MotionEmbedding(motion_dim, motion_embedding)
        token_dim = 2 * dim + motion_embedding
        self.transformer = Aggregator(token_dim, layers, heads, dropout).transformer  # read at the query, not at [AGG]
        self.output = nn.Linear(token_dim, dim)

    def forward(self, projected: Tensor, between: Tensor, ahead: Tensor) -> Tensor:
        """Return predictions (B, 1, K, P) from the last of the M views; see `PairPredictor.forward`."""
        context = between.shape[1]
        embedded = self.motion_embedding(torch.cat([between, ahead[:, -1]], dim=1)).to(projected.dtype)
        examples = torch.cat([projected[:, :-1], embedded[:, :context], projected[:, 1:]], dim=-1)  # (B, M-1, E)
        groups = embedded[:, context:].split(QUERIES_AT_ONCE, dim=1)
        return torch.cat([self._ask(examples, projected[:, -1:], asked) for asked in groups], dim=1)[:, None]

    def _ask(self, examples: Tensor, last: Tensor, embedded: Tensor) -> Tensor:
        """Return answers (B, K, P) to K queries, which see the examples and themselves: as if each were asked alone."""
        context, targets = examples.shape[1], embedded.shape[1]
        last = last.expand(-1, targets, -1)
        query = torch.cat([last, embedded, torch.zeros_like(last)], dim=-1)  # (B, K, E)
        tokens = torch.cat([examples, query], dim=1)
        hidden = torch.eye(context + targets, dtype=torch.bool, device=tokens.device).logical_not()
        hidden[:, :context] = False
        return self.output(self.transformer(tokens, mask=hidden)[:, context:])
