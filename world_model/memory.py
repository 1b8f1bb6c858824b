"""A memory of the path: which earlier view does a motion lead back to?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .aggregator import MotionEmbedding, Predictor


@dataclass(frozen=True)
class MemoryConfig:
    """Sizes of the path memory. JSON-able.

    Attributes:
        layers: Transformer layers; 0 for a model without a path memory.
        heads: Attention heads.
        longest: Most views a path may have; one learned order code for each.
        hidden: Hidden units of its predictor.

    Raises:
        ValueError: A value is out of range, or has no effect since there are no layers.
    """

    layers: int = 0
    heads: int = 4
    longest: int = 8
    hidden: int = 512

    def __post_init__(self) -> None:
        if self.layers < 0 or self.heads < 1 or self.longest < 2 or self.hidden < 1:
            raise ValueError(f"expected layers >= 0, heads >= 1, longest >= 2 and hidden >= 1, got {self}")
        if not self.layers and (self.heads, self.longest, self.hidden) != (4, 8, 512):
            raise ValueError(f"without layers there is no path memory, and its other sizes have no effect, got {self}")


class PathMemory(nn.Module):
    """A causal transformer over what was seen and how one moved, asked by motions: "what was there?"

    It differs from the aggregator in what path integration needs: a token is [z_i; motion that led there] plus a
    learned order code, a token sees only earlier ones, and the question is a token of its own that carries the next
    motion, so that it can look for a place. Every length of the path is asked about in one pass: a question sees the
    first so many tokens and no other question.

    Args:
        config: Sizes; at least one layer.
        z_dim: Length D of an embedding.
        motion_dim: Length A of a motion.
        embedding_dim: Length of an embedded motion; tokens have D plus this many entries.

    Raises:
        ValueError: The heads do not divide a token's length.
    """

    def __init__(self, config: MemoryConfig, z_dim: int, motion_dim: int, embedding_dim: int) -> None:
        super().__init__()
        width = z_dim + embedding_dim
        if width % config.heads:
            raise ValueError(
                f"tokens of {width} entries cannot be split over {config.heads} heads: change memory.heads"
            )
        self.longest = config.longest
        self.motion_embedding = MotionEmbedding(motion_dim, embedding_dim)
        self.order_codes = nn.Parameter(0.02 * torch.randn(config.longest, width))
        self.question = nn.Linear(embedding_dim, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, config.heads, 4 * width, dropout=0.0, batch_first=True)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.predictor = Predictor(width, embedding_dim, config.hidden, z_dim)

    def forward(self, z: Tensor, motions: Tensor, questions: Tensor, seen: Tensor) -> Tensor:
        """Return what is expected after each of Q motions, (B, Q, D), where predictions are scored.

        Args:
            z: Standardised embeddings of the views along the path, (B, L, D).
            motions: From each view to the next, (B, L - 1, A).
            questions: A motion from the last view that its question sees, (B, Q, A).
            seen: How many views each question sees, (Q,) int64 in [1, L].

        Raises:
            ValueError: The path is longer than there are order codes.
        """
        views = z.shape[1]
        if views > self.longest:
            raise ValueError(f"the path memory holds {self.longest} views, got {views}: raise memory.longest")
        embedded = self.motion_embedding(torch.cat([motions, questions], dim=1))
        arrived, asked = F.pad(embedded[:, : views - 1], (0, 0, 1, 0)), embedded[:, views - 1 :]
        tokens = torch.cat([z, arrived.to(z.dtype)], dim=-1) + self.order_codes[:views]
        x = torch.cat([tokens, self.question(asked) + self.order_codes[seen - 1]], dim=1)
        hidden = _hidden(views, seen)
        for layer in self.layers:
            x = layer(x, src_mask=hidden)
        read = self.norm(x[:, views:]).flatten(0, 1)
        return self.predictor(read, asked.flatten(0, 1)[:, None]).unflatten(0, asked.shape[:2])[:, :, 0]


def _hidden(views: int, seen: Tensor) -> Tensor:
    """Return the (L + Q, L + Q) bool mask of what each token must not see."""
    place = torch.arange(views, device=seen.device)
    ends = torch.cat([place + 1, seen])  # how many views each token sees
    hidden = torch.ones(len(ends), len(ends), dtype=torch.bool, device=seen.device)
    hidden[:, :views] = place >= ends[:, None]
    return hidden.fill_diagonal_(False)
