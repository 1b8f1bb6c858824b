"""Rotations as unit quaternions xyzw with w >= 0: drawing them, and the range of 3DIEBench as a limit of motion."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def canonical(quaternions: np.ndarray) -> np.ndarray:
    """Return the same rotations with w >= 0, for (n, 4) unit quaternions xyzw."""
    return np.where(quaternions[:, 3:] < 0, -quaternions, quaternions)


def uniform_rotations(uniform: np.ndarray) -> np.ndarray:
    """Map (n, 3) uniforms in [0, 1) to (n, 4) quaternions, uniform over rotations.

    Source: Shoemake, "Uniform random rotations" (Graphics Gems III, 1992).
    """
    u, v, w = uniform[:, 0], 2 * np.pi * uniform[:, 1], 2 * np.pi * uniform[:, 2]
    a, b = np.sqrt(1 - u), np.sqrt(u)
    return canonical(np.stack([a * np.sin(v), a * np.cos(v), b * np.sin(w), b * np.cos(w)], axis=1))


def bounded_rotations(uniform: np.ndarray) -> np.ndarray:
    """Map (n, 3) uniforms in [0, 1) to (n, 4) quaternions as 3DIEBench draws them.

    Euler angles xyz (extrinsic, SciPy's "xyz"), each uniform in [-pi/2, pi/2] (Garrido et al., 2023).
    """
    return canonical(Rotation.from_euler("xyz", (uniform - 0.5) * np.pi).as_quat())


def unseen_rotations(uniform: np.ndarray) -> np.ndarray:
    """Map (n, 3) uniforms in [0, 1) to (n, 4) quaternions that 3DIEBench's range never holds.

    Euler angles xyz (extrinsic): the first and the last uniform in [pi/2, pi] or [-pi, -pi/2], the middle one in
    [-pi/2, pi/2], where it is unique. With the middle one in the outer range too, as the out-of-distribution split is
    described, the same rotations come back as those of `bounded_rotations`: R(a, b, c) = R(a + pi, pi - b, c + pi).
    """
    angles = (uniform - 0.5) * np.pi + np.array([np.pi, 0.0, np.pi])
    return canonical(Rotation.from_euler("xyz", angles).as_quat())


def reachable_share(start: np.ndarray, rotation_vectors: np.ndarray, *, unseen: bool = False) -> np.ndarray:
    """Return how much of each motion stays within 3DIEBench's range, or within that of `unseen_rotations`.

    The range, all Euler angles xyz within 90 degrees, is where R[0, 0] and R[2, 2] are not negative: the object's x
    axis does not turn away from the camera's side, nor its z axis downwards. The unseen range is where neither is
    positive. A motion that ends inside is carried out in full; one that would end outside stops where its path first
    leaves.

    Args:
        start: (n, 3, 3) rotation matrices within the range.
        rotation_vectors: (n, 3) motions in the object's own frame, radians.
        unseen: the range of `unseen_rotations` instead.

    Returns:
        (n,) in [0, 1]. start * exp(share * rotation_vector) is within the range to 1e-6.
    """
    angle = np.linalg.norm(rotation_vectors, axis=1)
    x, y, z = (rotation_vectors / np.maximum(angle, 1e-12)[:, None]).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    # Rodrigues: R(phi) = R (I + sin(phi) K + (1 - cos(phi)) K^2), of which the limit reads two entries.
    once, twice = start @ cross, start @ cross @ cross

    def inside(share: np.ndarray) -> np.ndarray:  # (n, k) -> (n, k)
        sine, versine = np.sin(angle[:, None] * share), 1 - np.cos(angle[:, None] * share)
        entries = [start[:, i, i, None] + sine * once[:, i, i, None] + versine * twice[:, i, i, None] for i in (0, 2)]
        return -np.maximum(*entries) >= -1e-9 if unseen else np.minimum(*entries) >= -1e-9

    grid = np.arange(1, 33) / 32
    valid = inside(np.broadcast_to(grid, (len(angle), 32)))
    first = valid.argmin(axis=1)
    low, high = first / 32, (first + 1) / 32
    for _ in range(20):
        middle = (low + high) / 2
        ok = inside(middle[:, None])[:, 0]
        low, high = np.where(ok, middle, low), np.where(ok, high, middle)
    return np.where(valid[:, -1], 1.0, low)


def rotation_towards(start: np.ndarray, goal: np.ndarray, max_angle: float) -> np.ndarray:
    """Return the actions (n, 3) in [-1, 1], in units of `max_angle` radians, along the shortest rotations.

    Args:
        start: (n, 4) unit quaternions xyzw.
        goal: (n, 4), the same. One that is too far away is approached as far as one action can.
        max_angle: radians.
    """
    actions = (Rotation.from_quat(start).inv() * Rotation.from_quat(goal)).as_rotvec() / max_angle
    # Scaled as a whole, not clipped by component, so that the axis stays right.
    return actions / np.maximum(np.abs(actions).max(axis=1, keepdims=True), 1.0)


def as_motion(rotation: Rotation) -> np.ndarray:
    """Return n rotations as observations tell them: (n, 4) float32 unit quaternions xyzw with w >= 0."""
    return canonical(rotation.as_quat()).clip(-1.0, 1.0).astype(np.float32)
