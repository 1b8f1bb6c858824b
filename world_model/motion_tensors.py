"""The algebra of motions on tensors, on any device: what `motion` does on arrays, and the motions within a window."""

from __future__ import annotations

import torch
from torch import Tensor

from .motion import MotionKind


def compose(kind: MotionKind, a: Tensor, b: Tensor) -> Tensor:
    """Do `a`, then `b`, both (..., A) float, broadcast against each other: `motion.compose`."""
    if kind == "translation":
        return a + b
    if kind == "rotation-colour":
        return torch.cat([compose("rotation", a[..., :4], b[..., :4]), a[..., 4:] + b[..., 4:]], dim=-1)
    # A component at a time: what works along the last axis, of 4 numbers, takes twice as long.
    ax, ay, az, aw = a.unbind(-1)
    bx, by, bz, bw = b.unbind(-1)
    x = aw * bx + bw * ax + (ay * bz - az * by)
    y = aw * by + bw * ay + (az * bx - ax * bz)
    z = aw * bz + bw * az + (ax * by - ay * bx)
    w = aw * bw - (ax * bx + ay * by + az * bz)
    norm = torch.sqrt(x * x + y * y + z * z + w * w).clamp(min=1e-12)
    norm = torch.where(w < 0, -norm, norm)
    return torch.stack([x / norm, y / norm, z / norm, w / norm], dim=-1)


def relative(kind: MotionKind, a: Tensor, b: Tensor) -> Tensor:
    """Return the motion from where `a` leads to where `b` leads, both (..., A) from one place: `motion.relative`."""
    if kind == "translation":
        return b - a
    back = torch.cat([-a[..., :3], a[..., 3:4], -a[..., 4:]], dim=-1)
    return compose(kind, back, b)


def motions_ahead(kind: MotionKind, between: Tensor, ahead: Tensor) -> Tensor:
    """Return the motions from each of S views to each of K targets, (B, S, K, A).

    Args:
        kind: How motions compose.
        between: Motions from each view to the next, (B, S-1, A).
        ahead: Motions from the last view to each target, (B, K, A).
    """
    rows = [ahead]
    for step in range(between.shape[1] - 1, -1, -1):
        rows.append(compose(kind, between[:, step, None], rows[-1]))
    return torch.stack(rows[::-1], dim=1)


def motions_to_last(kind: MotionKind, between: Tensor) -> Tensor:
    """Return the motions (B, M-1, A) from each view but the last to the last, of those `between` (B, M-1, A) them."""
    if between.shape[1] < 2:
        return between
    return motions_ahead(kind, between[:, :-1], between[:, -1:])[:, :, 0]


def identity_like(kind: MotionKind, motions: Tensor) -> Tensor:
    """Return motions of the shape (..., A) of `motions` that change nothing: `motion.identity`."""
    still = torch.zeros_like(motions)
    if kind != "translation":
        still[..., 3] = 1
    return still


def inverse(kind: MotionKind, motions: Tensor) -> Tensor:
    """Return the motions (..., A) that undo `motions`: `motion.inverse`."""
    return relative(kind, motions, identity_like(kind, motions))


def rotation_from_vector(vectors: Tensor) -> Tensor:
    """Return exp(v): unit quaternions xyzw (..., 4), w >= 0, of rotation vectors (..., 3) in radians."""
    half = vectors.norm(dim=-1, keepdim=True) / 2
    w, scale = half.cos(), torch.sinc(half / torch.pi) / 2
    return torch.cat([vectors * torch.where(w < 0, -scale, scale), w.abs()], dim=-1)


def rotation_vector(quaternions: Tensor) -> Tensor:
    """Return log(q): rotation vectors (..., 3), radians, of at most pi, of unit quaternions xyzw (..., 4)."""
    signed = torch.where(quaternions[..., 3:] < 0, -quaternions, quaternions)
    axis, cosine = signed.split([3, 1], dim=-1)
    sine = axis.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, cosine)
    return axis * torch.where(sine > 1e-7, angle / sine.clamp(min=1e-12), 2 / cosine.clamp(min=1e-7))


def as_vectors(kind: MotionKind, motions: Tensor) -> Tensor:
    """Return `motions` (..., A) as vectors that scale along the straight way: translations as they are, else log(q)."""
    return motions if kind == "translation" else rotation_vector(motions[..., :4])


def from_vectors(kind: MotionKind, vectors: Tensor) -> Tensor:
    """Return the motions of `as_vectors`; colours are not among them."""
    return vectors if kind == "translation" else rotation_from_vector(vectors)


def size_of(kind: MotionKind, motions: Tensor) -> Tensor:
    """Return how large `motions` (..., A) are, (...): radians of rotations, image units of translations.

    Colours and zoom do not count.
    """
    vectors = as_vectors(kind, motions)
    return (vectors[..., :2] if kind == "translation" else vectors).norm(dim=-1)
