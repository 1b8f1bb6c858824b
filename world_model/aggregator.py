"""The parts after the encoder: motion embedding, aggregator and predictor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MotionEmbedding(nn.Module):
    """Linear without bias, then BatchNorm without affine, over every motion it is given at once.

    Source: seq-JEPA, section 3 (the action projector). The published code also feeds it the slot that is masked to zero
    afterwards, and calls it twice on different batches; here it sees real motions only, all in one call.

    Args:
        motion_dim: Length of a motion.
        embedding_dim: Length of its embedding.
    """

    def __init__(self, motion_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(motion_dim, embedding_dim, bias=False)
        self.norm = nn.BatchNorm1d(embedding_dim, affine=False)

    def forward(self, motions: Tensor) -> Tensor:
        """Return embeddings (B, N, embedding_dim) of `motions` (B, N, motion_dim); N may be 0."""
        embedded = self.linear(motions)
        if embedded.numel() == 0:
            return embedded
        return self.norm(embedded.flatten(0, 1)).unflatten(0, embedded.shape[:2])


class Aggregator(nn.Module):
    """Post-norm transformer encoder over [AGG], [z_1; e_1], …, [z_{M-1}; e_{M-1}], [z_M; 0], read at [AGG].

    No positional encoding: order enters through the motions alone. Any M >= 1. `from_mean` is this project's.
    Source: seq-JEPA, section 3 and appendix (640-d tokens, 3 layers, 4 heads, feed-forward 4x, ReLU, dropout 0.1).

    Args:
        token_dim: Length E of a token: the embedding z, and the motion embedding where tokens carry one.
        layers: Number of transformer layers.
        heads: Attention heads; must divide `token_dim`.
        dropout: Probability of dropout in the transformer.
        from_mean: Whether the mean of the M tokens is added to [AGG], so that pooling need not be learned.

    Raises:
        ValueError: `heads` does not divide `token_dim`.
    """

    def __init__(self, token_dim: int, layers: int, heads: int, dropout: float, *, from_mean: bool = False) -> None:
        super().__init__()
        self.from_mean = from_mean
        if token_dim % heads:
            raise ValueError(f"tokens of {token_dim} entries cannot be split over {heads} heads: change heads or sizes")

        def layer() -> nn.TransformerEncoderLayer:
            return nn.TransformerEncoderLayer(token_dim, heads, 4 * token_dim, dropout, batch_first=True)

        self.agg_token = nn.Parameter(torch.zeros(1, 1, token_dim))
        norm = nn.LayerNorm(token_dim)
        self.transformer = nn.TransformerEncoder(layer(), layers, norm, enable_nested_tensor=False)
        # TransformerEncoder copies one layer, so all would start with the same weights.
        self.transformer.layers = nn.ModuleList(layer() for _ in range(layers))

    def forward(self, z: Tensor, embedded: Tensor | None) -> Tensor:
        """Return z_agg (B, E).

        Args:
            z: Embeddings of the views, (B, M, D).
            embedded: Embeddings of the motions between them, (B, M-1, E-D); None where tokens are z alone.
        """
        tokens = z
        if embedded is not None:
            tokens = torch.cat([z, F.pad(embedded, (0, 0, 0, 1)).to(z.dtype)], dim=-1)
        agg = self.agg_token.to(tokens.dtype).expand(len(tokens), -1, -1)
        if self.from_mean:
            agg = agg + tokens.mean(dim=1, keepdim=True)
        return self.transformer(torch.cat([agg, tokens], dim=1))[:, 0]


class Predictor(nn.Module):
    """Linear without bias, BatchNorm, ReLU, Linear on [z_agg; e], for any number of motions e that share one z_agg.

    Source: seq-JEPA, section 3 and appendix (hidden 1024, one layer of them). A second layer is this project's: one
    alone has little room to let the motion act on what was seen.

    Args:
        agg_dim: Length E of z_agg.
        embedding_dim: Length of a motion embedding; 0 if the prediction is not conditioned on the motion.
        hidden: Hidden units.
        z_dim: Length D of the prediction.
        layers: Hidden layers, each of Linear, BatchNorm and ReLU.
    """

    def __init__(self, agg_dim: int, embedding_dim: int, hidden: int, z_dim: int, layers: int = 1) -> None:
        super().__init__()
        self.agg_dim = agg_dim
        self.hidden = nn.Linear(agg_dim + embedding_dim, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.output = nn.Linear(hidden, z_dim)
        further: list[nn.Module] = []
        for _ in range(layers - 1):
            further += [nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        self.further = nn.Sequential(*further)

    def forward(self, z_agg: Tensor, embedded: Tensor | None) -> Tensor:
        """Return predictions (B, K, D) of `z_agg` (B, E) and `embedded` motions (B, K, ·), or (B, 1, D) without any."""
        # The first layer splits into a part that all K motions share and a part for each: K = 1,024 costs half.
        from_agg, from_motion = self.hidden.weight.split([self.agg_dim, self.hidden.in_features - self.agg_dim], dim=1)
        x = F.linear(z_agg, from_agg)[:, None]  # (B, 1, hidden)
        if embedded is not None:
            x = x + F.linear(embedded, from_motion)  # (B, K, hidden)
        return self.output(self.further(torch.relu(self.norm(x.flatten(0, 1))))).unflatten(0, x.shape[:2])
