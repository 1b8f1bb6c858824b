"""World models with known answers, for tests of agents."""

from types import SimpleNamespace

import numpy as np
import torch

from glimpseworld.world_model.motion_tensors import compose
from glimpseworld.world_model.protocol import WorldModel


class ToyModel(WorldModel):
    """Reads the first pixels of a view as its embedding, and predicts what the test says.

    Args:
        z_dim: D; z is the first D numbers of the view's first row, from 0 to 255.
        foresee: Maps z (n, M, D), motions (n, M-1, A) and ahead (n, K, A) to predictions (n, K, D).
        motion_dim: A.
    """

    def __init__(self, z_dim, foresee, motion_dim=2):
        torch.nn.Module.__init__(self)
        self.config = SimpleNamespace(z_dim=z_dim, motion_dim=motion_dim, motion_kind=None)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.foresee, self.modes = foresee, []

    def encode(self, views):
        self.modes.append(self.training)
        return ((views + 2.0) * (255 * 0.25)).movedim(2, -1)[:, :, 0].flatten(2)[..., : self.config.z_dim].round()

    def encode_target(self, views):
        return self.encode(views)

    def predict_from(self, z, motions, ahead):
        return self.foresee(z, motions, ahead[:, None])[:, 0] if ahead.ndim == 2 else self.foresee(z, motions, ahead)


class TrueModel(WorldModel):
    """A model that is right: z is the pose that a glimpse spells out, see `spelt_out`, and embeddings are known of it.

    Of translations: cos and sin of 32 random projections of the position, with a cosine of about exp(-(scale r)^2 / 2)
    for positions r apart. Of rotations: the rotation matrix, with a cosine of (1 + 2 cos(angle)) / 3.

    Args:
        kind: "translation" or "rotation".
        scale: Of the projections.
        longest: Views of a path memory, which is right too; None for none.
    """

    def __init__(self, kind="translation", *, scale=1.0, longest=None):
        torch.nn.Module.__init__(self)
        dim = {"translation": 2, "rotation": 4}[kind]
        self.kind, self.config = kind, SimpleNamespace(motion_dim=dim, motion_kind=kind, z_dim=dim)
        waves = scale * torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
        self.waves = torch.nn.Parameter(waves, requires_grad=False)
        self.memory = None if longest is None else SimpleNamespace(longest=longest)
        self.calls, self.recalled = [], []

    def encode(self, views):
        pixels = ((views.movedim(2, -1) + 2) * (255 * 0.25)).round().to(torch.int64).flatten(2)
        return ((pixels[..., 0::2] * 256 + pixels[..., 1::2]) / 65535 * 4 - 2)[..., : self.config.z_dim]

    def encode_target(self, views):
        return self.encode(views)

    def as_target(self, z):
        if self.kind == "translation":
            return torch.cat([(z @ self.waves).cos(), (z @ self.waves).sin()], dim=-1)
        x, y, z, w = torch.nn.functional.normalize(z, dim=-1).unbind(-1)
        rows = [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)]
        rows += [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)]
        rows += [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]
        return torch.stack(rows, dim=-1)

    def predict_from(self, z, motions, ahead):
        if ahead.ndim == 2:
            return self.predict_from(z, motions, ahead[:, None])[:, 0]
        self.calls.append(tuple(ahead.shape))
        return self.as_target(compose(self.kind, z[:, -1:].expand(-1, ahead.shape[1], -1), ahead))

    def recall(self, z, motions, motion):
        self.recalled.append(z.shape[1])
        return self.predict_from(z, motions, motion)


def spelt_out(poses):
    """Return (B, 4, 4, 3) uint8 glimpses that spell out poses (B, A) of numbers in [-2, 2], 16 bits each."""
    numbers = np.zeros((len(poses), 24), dtype=">u2")
    numbers[:, : np.shape(poses)[1]] = np.round((np.asarray(poses, np.float64) + 2) / 4 * 65535)
    return numbers.view(np.uint8).reshape(len(poses), 4, 4, 3).copy()
