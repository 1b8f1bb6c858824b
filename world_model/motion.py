"""The algebra of motions: composing, inverting and comparing translations, rotations, and rotations with colours."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import DTypeLike

MotionKind = Literal["translation", "rotation", "rotation-colour"]
"""``"translation"``: vectors, which add; ``"rotation"``: unit quaternions xyzw, w >= 0, which multiply;
``"rotation-colour"``: such a quaternion, then the differences of floor hue and light hue, which add."""


def identity(kind: MotionKind, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> np.ndarray:
    """Return the motions that change nothing: zero vectors, or quaternions (0, 0, 0, 1), with zeros for colours.

    Args:
        kind: which motions.
        shape: of the result, (..., A); A is 4 for rotations, 6 with colours.
        dtype: float32 or float64.

    Returns:
        (..., A).

    Raises:
        ValueError: if `kind` is unknown, or `shape` cannot hold its motions.
    """
    check_motion_dim(kind, shape[-1] if shape else 0)
    still = np.zeros(shape, dtype)
    if kind != "translation":
        still[..., 3] = 1.0
    return still


def compose(kind: MotionKind, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the one motion that does `a`, then `b`.

    Rotations are of the object's own frame, R_{t+1} = R_t m_t, so the composition is the product a b in that order,
    ``Rotation.from_quat(a) * Rotation.from_quat(b)`` in SciPy's terms. It is brought back to unit norm, so long
    products do not drift.

    Args:
        kind: which motions.
        a: (..., A) float32 or float64.
        b: (..., A), broadcast against `a`.

    Returns:
        (..., A) in the wider of the two dtypes; rotations have unit norm and w >= 0.
    """
    if kind == "translation":
        return a + b
    if kind == "rotation-colour":
        turned = compose("rotation", a[..., :4], b[..., :4])
        return np.concatenate([turned, a[..., 4:] + b[..., 4:]], axis=-1)
    return _canonical(_product(a, b))


def inverse(kind: MotionKind, a: np.ndarray) -> np.ndarray:
    """Return the motion that undoes `a`, of the same shape (..., A) and dtype; rotations have unit norm and w >= 0."""
    if kind == "translation":
        return -a
    if kind == "rotation-colour":
        return np.concatenate([inverse("rotation", a[..., :4]), -a[..., 4:]], axis=-1)
    return _canonical(_conjugate(a))


def relative(kind: MotionKind, pose_i: np.ndarray, pose_j: np.ndarray) -> np.ndarray:
    """Return the motion that leads from one pose to another: x_j - x_i, or R_i^-1 R_j.

    Args:
        kind: which motions; poses are the motions from one common origin.
        pose_i: (..., A) where the motion starts.
        pose_j: (..., A) where it ends, broadcast against `pose_i`.

    Returns:
        (..., A), with ``compose(kind, pose_i, result) == pose_j`` up to rounding (and a quaternion's sign); rotations
        have unit norm and w >= 0.
    """
    if kind == "translation":
        return pose_j - pose_i
    if kind == "rotation-colour":
        turned = relative("rotation", pose_i[..., :4], pose_j[..., :4])
        return np.concatenate([turned, pose_j[..., 4:] - pose_i[..., 4:]], axis=-1)
    return _canonical(_product(_conjugate(pose_i), pose_j))


def check_motion_dim(kind: MotionKind, motion_dim: int) -> None:
    """Raise ValueError unless `kind` is a motion kind and `motion_dim` numbers can hold one of its motions."""
    if kind not in get_args(MotionKind):
        raise ValueError(f"motion kind must be one of {get_args(MotionKind)}, got {kind!r}")
    if kind == "rotation" and motion_dim != 4:
        raise ValueError(f"a rotation is a quaternion of 4 numbers (xyzw), got motions of {motion_dim}")
    if kind == "rotation-colour" and motion_dim != 6:
        raise ValueError(f"a rotation with colours has 4 + 2 numbers, got motions of {motion_dim}")
    if motion_dim < 1:
        raise ValueError(f"a motion needs at least 1 number, got {motion_dim}")


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ax, ay, az, aw = np.moveaxis(a, -1, 0)
    bx, by, bz, bw = np.moveaxis(b, -1, 0)
    return np.stack(
        (
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ),
        axis=-1,
    )


def _conjugate(a: np.ndarray) -> np.ndarray:
    return a * np.array([-1, -1, -1, 1], a.dtype)


def _canonical(a: np.ndarray) -> np.ndarray:
    """Scale quaternions (..., 4) to unit norm, and pick of q and -q, which are one rotation, that with w >= 0."""
    norm = np.sqrt(np.square(a).sum(axis=-1, keepdims=True))
    return a / np.copysign(norm, a[..., 3:] + 0.0)  # + 0.0 makes -0.0 positive
