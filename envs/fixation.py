"""Where to look: spectral residual saliency, and priority maps with inhibition of return."""

from __future__ import annotations

import numpy as np

INHIBITION_RADIUS = 16.0
"""Radius of inhibition of return in image pixels: the published seq-JEPA's, on 96 x 96 images."""


def spectral_residual(image: np.ndarray, *, resolution: int = 64) -> np.ndarray:
    """Return the saliency map of an image: what its amplitude spectrum holds beyond the expected.

    Args:
        image: (S, S, 3) or (S, S) uint8.
        resolution: side in pixels at which the spectrum is taken; the paper's 64.

    Returns:
        (S, S) uint8, the largest value 255. A uniform image gives a uniform map of 255.

    Source: Hou and Zhang, "Saliency Detection: A Spectral Residual Approach" (CVPR 2007).
    """
    import cv2

    gray = image if image.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (resolution, resolution), interpolation=cv2.INTER_AREA).astype(np.float32)
    spectrum = np.fft.fft2(small)
    log_amplitude = np.log(np.abs(spectrum) + 1e-6).astype(np.float32)
    residual = log_amplitude - cv2.blur(log_amplitude, (3, 3), borderType=cv2.BORDER_REPLICATE)
    saliency = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    smooth = cv2.GaussianBlur(saliency.astype(np.float32), (0, 0), 2.5)
    if np.ptp(small) == 0:
        smooth = np.ones_like(smooth)
    full = cv2.resize(smooth, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(full / full.max() * 255), 0, 255).astype(np.uint8)


class PriorityMap:
    """Saliency times inhibition of return, for a batch of scanpaths; agents choose by it and the viewer shows it.

    The map is a grid of `cells` x `cells` over the image; cell (row r, column c) lies at position
    x = (2 c + 1) / cells - 1, y = (2 r + 1) / cells - 1 in image units.

    Args:
        num_paths: how many scanpaths are kept side by side.
        cells: cells along a side.
        radius: inhibition's radius in image units (half the image side).
    """

    def __init__(self, num_paths: int, *, cells: int, radius: float) -> None:
        if cells < 1 or radius < 0:
            raise ValueError(f"cells must be at least 1 and radius at least 0, got {cells} and {radius}")
        self.cells, self.radius = cells, radius
        self._centres = (2 * np.arange(cells) + 1) / cells - 1
        self.saliency = np.ones((num_paths, cells, cells), dtype=np.float32)
        self.inhibited = np.zeros((num_paths, cells, cells), dtype=bool)

    def begin(self, rows: np.ndarray, saliency: np.ndarray | None) -> None:
        """Forget the scanpaths of `rows`.

        Args:
            rows: (n,) int64.
            saliency: (n, S, S) of any real dtype, averaged into the cells; None weighs all cells alike, so that
                inhibition of return works with saliency off.

        Raises:
            ValueError: if S is not a multiple of `cells`, or a map is negative, not finite or all zeros.
        """
        self.inhibited[rows] = False
        if saliency is None:
            self.saliency[rows] = 1.0
            return
        n, side, _ = saliency.shape
        if side % self.cells:
            raise ValueError(f"a saliency map of side {side} does not divide into {self.cells} cells")
        block = side // self.cells
        cells = saliency.reshape(n, self.cells, block, self.cells, block).mean(axis=(2, 4), dtype=np.float64)
        if not np.isfinite(cells).all() or (cells < 0).any() or (cells.max(axis=(1, 2)) <= 0).any():
            raise ValueError("a saliency map must be finite, not negative, and not all zeros")
        self.saliency[rows] = cells

    def fixate(self, rows: np.ndarray, positions: np.ndarray) -> None:
        """Inhibit a disc around (n, 2) positions (x, y), image units."""
        dx = self._centres[None, None, :] - positions[:, 0, None, None]
        dy = self._centres[None, :, None] - positions[:, 1, None, None]
        self.inhibited[rows] |= dx**2 + dy**2 <= self.radius**2

    def priority(self, rows: np.ndarray) -> np.ndarray:
        """Return (n, cells, cells) float32: saliency where not inhibited, 0 elsewhere; plain saliency if all is."""
        free = ~self.inhibited[rows]
        free |= ~free.any(axis=(1, 2), keepdims=True)
        return self.saliency[rows] * free

    def sample(self, rows: np.ndarray, uniform: np.ndarray, *, reach: float = 1.0) -> np.ndarray:
        """Draw a fixation for each row, in proportion to priority.

        Args:
            rows: (n,) int64.
            uniform: (n,) float64 in [0, 1), the randomness.
            reach: cells with |x| or |y| beyond it are left out, image units.

        Returns:
            (n, 2) float64 positions (x, y) of cell centres.
        """
        weights = self.priority(rows).astype(np.float64)
        allowed = np.abs(self._centres) <= reach
        if not allowed.any():
            allowed = np.abs(self._centres) == np.abs(self._centres).min()
        allowed2 = allowed[:, None] & allowed[None, :]
        weights = weights * allowed2
        empty = weights.sum(axis=(1, 2)) <= 0  # everything within reach is inhibited or without saliency
        weights[empty] = allowed2
        cumulative = weights.reshape(len(rows), -1).cumsum(axis=1)
        threshold = uniform[:, None] * cumulative[:, -1:]
        cell = (cumulative <= threshold).sum(axis=1)
        return np.stack([self._centres[cell % self.cells], self._centres[cell // self.cells]], axis=1)
