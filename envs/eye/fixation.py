"""Where to look: spectral residual saliency, and priority maps with inhibition of return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..settings import check_flag, check_number

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


@dataclass(frozen=True)
class PrioritySettings:
    """What makes a place worth a fixation. The default is the published seq-JEPA's for images of 96 x 96 pixels."""

    saliency: bool = True
    """Whether saliency counts; without it all places are alike but for the rest."""
    radius: float = 2 * INHIBITION_RADIUS / 96
    """Radius of inhibition of return around a fixation, image units (half the image side)."""
    strength: float = 1.0
    """How much priority falls there: 1 to nothing, 0.5 to half, 0 switches inhibition of return off."""
    decay: float = 1.0
    """Share of the inhibition that each further fixation leaves: 1 never fades, 0 inhibits the latest place only."""
    centre_bias: float | None = None
    """Standard deviation of a Gaussian weight around the centre of the image, image units; None for none."""
    temperature: float = 1.0
    """Fixations are drawn in proportion to priority ** (1 / temperature): 1 as it is, above 1 more evenly; 0 draws
    among the highest alone."""

    def __post_init__(self) -> None:
        check_flag("priority's saliency", self.saliency)
        for name, high in (("radius", np.inf), ("strength", 1), ("decay", 1), ("temperature", np.inf)):
            check_number(f"priority's {name}", getattr(self, name), low=0, high=high)
        if self.centre_bias is not None:
            check_number("priority's centre_bias", self.centre_bias, low=0, above=True)


class PriorityMap:
    """Saliency times centre bias times inhibition of return, for a batch of scanpaths.

    Agents choose by it and the viewer shows it. The map is a grid of `cells` x `cells` over the image; cell (row r,
    column c) lies at position x = (2 c + 1) / cells - 1, y = (2 r + 1) / cells - 1 in image units.

    The inhibition of a cell is that of the latest fixation within `radius` of it: strength * decay ** n, n the
    fixations since. Discs that overlap do not add up.

    Args:
        num_paths: how many scanpaths are kept side by side.
        cells: cells along a side.
        settings: what counts, and how much.
    """

    def __init__(self, num_paths: int, *, cells: int, settings: PrioritySettings) -> None:
        if cells < 1:
            raise ValueError(f"cells must be at least 1, got {cells}")
        self.cells, self.settings = cells, settings
        self._centres = (2 * np.arange(cells) + 1) / cells - 1
        self._bias = None if settings.centre_bias is None else self._centre_bias(settings.centre_bias)
        self.saliency = np.ones((num_paths, cells, cells), dtype=np.float32)
        self.inhibition = np.zeros((num_paths, cells, cells), dtype=np.float32)

    def begin(self, rows: np.ndarray, saliency: np.ndarray | None) -> None:
        """Forget the scanpaths of `rows`.

        Args:
            rows: (n,) int64.
            saliency: (n, S, S) of any real dtype, averaged into the cells; None, or the setting `saliency` off, weighs
                all cells alike, and inhibition of return works as ever.

        Raises:
            ValueError: if S is not a multiple of `cells`, or a map is negative, not finite or all zeros.
        """
        self.inhibition[rows] = 0.0
        if saliency is None or not self.settings.saliency:
            self.saliency[rows] = 1.0
            return
        n, side, _ = saliency.shape
        if side % self.cells:
            raise ValueError(f"a saliency map of side {side} does not divide into {self.cells} cells")
        block = side // self.cells
        cells = saliency.reshape(n, self.cells, block, self.cells, block).mean(axis=(2, 4), dtype=np.float64)
        with np.errstate(over="ignore"):
            cells = cells.astype(np.float32)
        if not np.isfinite(cells).all() or (cells < 0).any() or (cells.max(axis=(1, 2)) <= 0).any():
            raise ValueError("a saliency map must be finite, not negative, and not all zeros, in float32")
        self.saliency[rows] = cells

    def fixate(self, rows: np.ndarray, positions: np.ndarray) -> None:
        """Let what is inhibited in `rows` fade, and inhibit a disc around (n, 2) positions (x, y), image units."""
        dx = self._centres[None, None, :] - positions[:, 0, None, None]
        dy = self._centres[None, :, None] - positions[:, 1, None, None]
        inhibition = self.inhibition[rows]
        if self.settings.decay != 1:
            inhibition *= np.float32(self.settings.decay)
        disc = dx**2 + dy**2 <= self.settings.radius**2
        self.inhibition[rows] = np.maximum(inhibition, disc * np.float32(self.settings.strength), out=inhibition)

    def priority(self, rows: np.ndarray) -> np.ndarray:
        """Return (n, cells, cells) float32: saliency * centre bias * (1 - inhibition).

        Where all cells of a row are inhibited to nothing, the last factor is left out.
        """
        priority = self.inhibition[rows]
        np.subtract(1, priority, out=priority)  # in place: fresh memory for a large batch costs more than the sums
        priority[~priority.any(axis=(1, 2))] = 1.0
        priority *= self.saliency[rows]
        if self._bias is not None:
            priority *= self._bias
        return priority

    def sample(self, rows: np.ndarray, uniform: np.ndarray, *, reach: float = 1.0) -> np.ndarray:
        """Draw a fixation for each row, in proportion to priority ** (1 / temperature).

        Args:
            rows: (n,) int64.
            uniform: (n,) float64 in [0, 1), the randomness.
            reach: cells with |x| or |y| beyond it are left out, image units.

        Returns:
            (n, 2) float64 positions (x, y) of cell centres, any within reach alike where priority is 0 in all of them.
        """
        allowed = np.abs(self._centres) <= reach
        if not allowed.any():
            allowed = np.abs(self._centres) == np.abs(self._centres).min()
        allowed2 = allowed[:, None] & allowed[None, :]
        weights = self.priority(rows) * allowed2.astype(np.float64)
        empty = weights.sum(axis=(1, 2)) <= 0  # everything within reach is inhibited or without saliency
        weights[empty] = allowed2
        if self.settings.temperature != 1:
            weights = _tempered(weights, self.settings.temperature)
        cumulative = weights.reshape(len(rows), -1)
        np.cumsum(cumulative, axis=1, out=cumulative)
        threshold = uniform[:, None] * cumulative[:, -1:]
        cell = (cumulative <= threshold).sum(axis=1)
        return np.stack([self._centres[cell % self.cells], self._centres[cell // self.cells]], axis=1)

    def _centre_bias(self, width: float) -> np.ndarray:
        """Return the Gaussian weight of each cell, (cells, cells) float32, the greatest 1 however narrow it is."""
        squared = self._centres[:, None] ** 2 + self._centres[None, :] ** 2
        with np.errstate(over="ignore"):
            exponent = -0.5 * (squared - squared.min()) / width / width
        return np.exp(exponent).astype(np.float32)


def _tempered(weights: np.ndarray, temperature: float) -> np.ndarray:
    """Return (n, ...) weights ** (1 / temperature), scaled so that the greatest of each row is 1.

    Scaling comes first, so that no power overflows or all vanish. At temperature 0, the limit, the greatest weigh 1 and
    the others 0.
    """
    relative = weights / weights.max(axis=(1, 2), keepdims=True)
    if temperature == 0:
        return (relative == 1).astype(np.float64)
    with np.errstate(over="ignore"):
        return np.power(relative, np.float64(1.0) / temperature, out=relative)
