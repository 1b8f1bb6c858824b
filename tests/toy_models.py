"""World models with known answers, for tests of agents."""

from types import SimpleNamespace

import torch

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
