"""A world model that is right: a glimpse shows its pose, and the embedding is a known function of that."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from glimpseworld.world_model.motion_tensors import compose
from glimpseworld.world_model.protocol import WorldModel


class ToyModel(WorldModel):
    """z is the pose that the glimpse's top left pixels tell; where targets live, similar poses have a high cosine.

    Of translations: cos and sin of 32 random projections of the position. Of rotations: the rotation matrix, of which
    the cosine is (1 + 2 cos(angle)) / 3.
    """

    def __init__(self, kind="translation"):
        nn.Module.__init__(self)
        dim = {"translation": 2, "rotation": 4}[kind]
        self.kind, self.config = kind, SimpleNamespace(motion_dim=dim, motion_kind=kind, z_dim=dim)
        self.calls = []
        self.waves = nn.Parameter(torch.randn(2, 32, generator=torch.Generator().manual_seed(0)))

    def encode(self, views):
        return (views[:, :, 0, 0, : self.config.z_dim] + 2) * 0.25 * 2 - 1  # pixels 0 to 255 are -1 to 1

    def encode_target(self, views):
        return self.encode(views)

    def as_target(self, z):
        if self.kind == "translation":
            return torch.cat([(z @ self.waves).cos(), (z @ self.waves).sin()], dim=-1)
        x, y, z, w = nn.functional.normalize(z, dim=-1).unbind(-1)
        rows = [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)]
        rows += [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)]
        rows += [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]
        return torch.stack(rows, dim=-1)

    def predict_from(self, z, motions, ahead):
        if ahead.ndim == 2:
            return self.predict_from(z, motions, ahead[:, None])[:, 0]
        self.calls.append(tuple(ahead.shape))
        return self.as_target(compose(self.kind, z[:, -1:].expand(-1, ahead.shape[1], -1), ahead))


def toy_glimpse(poses):
    """Return (B, 4, 4, 1) glimpses that show (B, P) poses in [-1, 1]."""
    poses = np.asarray(poses)
    glimpse = np.zeros((len(poses), 4, 4, 1), dtype=np.uint8)
    glimpse[:, 0, : poses.shape[1], 0] = np.round((poses + 1) * 127.5)
    return glimpse
