"""A sketch pad for procedural objects: a few solid primitives, each part painted by the role it plays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np

from .meshes import Mesh, normalize
from .normals import cross

Axis: TypeAlias = Literal["x", "y", "z"]
Role: TypeAlias = Literal["body", "limb", "top", "front", "side", "grip"]
Point: TypeAlias = tuple[float, float, float]

ROLES: tuple[Role, ...] = ("body", "limb", "top", "front", "side", "grip")
"""What a part is to its object: the main mass, a support, the upper part, the mark of the front (+x), the mark of the
left side (+y), a handle or attachment. Every family uses all of them, so that colours tell pose rather than class."""

_SMALLEST_AREA = 1e-7  # scene units squared, after normalizing; collapsed rings leave triangles of no area
_CUBE = np.array(
    [[[-0.5, -0.5, z], [0.5, -0.5, z], [0.5, 0.5, z], [-0.5, 0.5, z]] for z in (-0.5, 0.5)],
    dtype=np.float64,
)  # (2, 4, 3)


class Sketch:
    """Collects the parts of one object; lengths are in any unit, since `mesh` normalizes.

    +x is the front, +y the left side, +z up. Parts may overlap. A part whose plane is named by its normal `axis` has
    in-plane coordinates (y, z) for "x", (x, z) for "y" and (x, y) for "z".

    Args:
        rng: source of the object's proportions.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._vertices: list[np.ndarray] = []
        self._faces: list[np.ndarray] = []
        self._roles: list[np.ndarray] = []
        self._n_vertices = 0

    def vary(self, low: float, high: float) -> float:
        """Draw a length, an angle or a ratio, uniform in [low, high)."""
        return float(self._rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """Draw a number of parts, uniform in {low, ..., high}."""
        return int(self._rng.integers(low, high + 1))

    def chance(self, probability: float = 0.5) -> bool:
        """Draw whether a part is there."""
        return bool(self._rng.random() < probability)

    def loft(self, role: Role, rings: np.ndarray | Sequence, *, closed: bool = False) -> None:
        """Add the solid between consecutive rings of points; all other primitives are lofts.

        Args:
            role: what the part is to the object.
            rings: (n, k, 3) points, each ring convex and going the same way round.
            closed: join the last ring to the first instead of capping both.
        """
        rings = np.asarray(rings, dtype=np.float64)
        vertices = rings.reshape(-1, 3)
        faces = _loft_faces(rings.shape[0], rings.shape[1], closed)
        a, b, c = (vertices - vertices.mean(axis=0))[faces].transpose(1, 0, 2)
        # Six times the signed volume; negative when the rings wind the other way and the faces look inwards.
        if np.einsum("fi,fi->", a, cross(b, c)) < 0:
            faces = faces[:, ::-1]
        self._vertices.append(vertices)
        self._faces.append(faces + self._n_vertices)
        self._roles.append(np.full(len(faces), ROLES.index(role)))
        self._n_vertices += len(vertices)

    def box(
        self,
        role: Role,
        size: Point,
        at: Point,
        *,
        taper: tuple[float, float] = (1.0, 1.0),
        lean: float = 0.0,
        turn: tuple[Axis, float] | None = None,
    ) -> None:
        """Add a box of `size` centred at `at`.

        `taper` scales the upper face along x and y, `lean` shifts it along x, then `turn` = (axis, degrees) turns the
        box about its own centre.
        """
        points = _CUBE * size
        points[1, :, :2] *= taper
        points[1, :, 0] += lean
        if turn is not None:
            points = points @ _rotation(*turn).T
        self.loft(role, points + np.asarray(at))

    def bar(
        self,
        role: Role,
        start: Point,
        end: Point,
        radius: float,
        end_radius: float | None = None,
        sides: int = 8,
    ) -> None:
        """Add a round bar from `start` to `end`, a cone if `end_radius` differs from `radius`."""
        first, last = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        direction = (last - first) / np.linalg.norm(last - first)
        helper = np.eye(3)[np.argmin(np.abs(direction))]
        u = np.cross(direction, helper)
        u /= np.linalg.norm(u)
        v = np.cross(direction, u)
        ring = _circle(sides) @ np.stack([u, v])  # (sides, 3)
        self.loft(role, [first + radius * ring, last + (radius if end_radius is None else end_radius) * ring])

    def lathe(
        self,
        role: Role,
        profile: Sequence[tuple[float, float]],
        at: Point = (0.0, 0.0, 0.0),
        *,
        axis: Axis = "z",
        sides: int = 16,
    ) -> None:
        """Add the solid that `profile`, (radius, height) pairs, sweeps about `axis`; it may turn back into a cavity."""
        radius, height = np.asarray(profile, dtype=np.float64).T
        circle = _circle(sides)
        u, v = radius[:, None] * circle[:, 0], radius[:, None] * circle[:, 1]
        self.loft(role, _place(u, v, np.broadcast_to(height[:, None], u.shape), axis) + np.asarray(at))

    def ball(self, role: Role, radii: Point, at: Point, sides: int = 10) -> None:
        """Add an ellipsoid with half-axes `radii` centred at `at`."""
        rings = sides // 2
        angle = np.pi * np.arange(rings + 1) / rings
        radius, circle = np.sin(angle)[:, None], _circle(sides)
        u, v = radius * circle[:, 0], radius * circle[:, 1]
        points = _place(u, v, np.broadcast_to(-np.cos(angle)[:, None], u.shape), "z")
        self.loft(role, points * radii + np.asarray(at))

    def prism(
        self,
        role: Role,
        outline: Sequence[tuple[float, float]],
        depth: float,
        at: Point = (0.0, 0.0, 0.0),
        *,
        axis: Axis = "y",
        turn: tuple[Axis, float] | None = None,
    ) -> None:
        """Add a plate with a convex `outline` in the plane normal to `axis`, `depth` thick.

        `outline` is relative to `at`, about which `turn` = (axis, degrees) turns the plate.
        """
        u, v = np.asarray(outline, dtype=np.float64).T
        offset = np.full_like(u, depth / 2)
        points = np.stack([_place(u, v, h, axis) for h in (-offset, offset)])
        if turn is not None:
            points = points @ _rotation(*turn).T
        self.loft(role, points + np.asarray(at))

    def arch(
        self,
        role: Role,
        at: Point,
        radii: tuple[float, float],
        thickness: float,
        degrees: tuple[float, float] = (0.0, 360.0),
        *,
        axis: Axis = "y",
        sides: int = 6,
    ) -> None:
        """Add a bar bent along an ellipse about `at` in the plane normal to `axis`; all 360 degrees make a ring."""
        whole = degrees[1] - degrees[0] >= 360
        n = max(4, round(abs(degrees[1] - degrees[0]) / 25))
        angle = np.radians(np.linspace(*degrees, n + 1)[: n if whole else n + 1])[:, None]
        tube = thickness * _circle(sides)
        u, v = np.cos(angle) * (radii[0] + tube[:, 0]), np.sin(angle) * (radii[1] + tube[:, 0])
        points = _place(u, v, np.broadcast_to(tube[:, 1], u.shape), axis)
        self.loft(role, points + np.asarray(at), closed=whole)

    def wrap(
        self,
        role: Role,
        radii: tuple[float, float],
        heights: tuple[float, float],
        degrees: tuple[float, float],
        thickness: float = 0.03,
    ) -> None:
        """Add a label that stands out of a round wall about z; `radii` are the wall's at the two `heights`."""
        angle = np.radians(np.linspace(*degrees, 7))[:, None]
        radius = np.array([radii[0] - thickness, radii[0] + thickness, radii[1] + thickness, radii[1] - thickness])
        height = np.array([heights[0], heights[0], heights[1], heights[1]])
        u, v = np.cos(angle) * radius, np.sin(angle) * radius
        self.loft(role, _place(u, v, np.broadcast_to(height, u.shape), "z"))

    def stretch(self, most: float) -> None:
        """Scale all parts drawn so far along x, y and z, each by a random factor from 1 / `most` to `most`."""
        factors = np.exp(self._rng.uniform(-np.log(most), np.log(most), 3))
        self._vertices = [vertices * factors for vertices in self._vertices]

    def mesh(self, palette: np.ndarray) -> Mesh:
        """Return the normalized object, painted by role.

        Args:
            palette: (len(ROLES), 3) uint8 RGB.
        """
        faces, roles = np.concatenate(self._faces).astype(np.int32), np.concatenate(self._roles)
        mesh = normalize(Mesh(np.concatenate(self._vertices).astype(np.float32), faces, palette[roles]))
        a, b, c = mesh.vertices[faces].transpose(1, 0, 2)
        solid = np.linalg.norm(cross(b - a, c - a), axis=1) / 2 > _SMALLEST_AREA
        return Mesh(mesh.vertices, faces[solid], mesh.colors[solid])


@lru_cache(maxsize=256)
def _loft_faces(n: int, k: int, closed: bool) -> np.ndarray:
    """Triangles over n rings of k points numbered ring by ring: (F, 3)."""
    ring, point = (grid.ravel() for grid in np.meshgrid(np.arange(n if closed else n - 1), np.arange(k), indexing="ij"))
    here, beside = ring * k + point, ring * k + (point + 1) % k
    above, diagonal = (here + k) % (n * k), (beside + k) % (n * k)
    walls = [np.stack([here, beside, diagonal], axis=1), np.stack([here, diagonal, above], axis=1)]
    if closed:
        return np.concatenate(walls)
    fan = np.stack([np.zeros(k - 2, dtype=np.int64), np.arange(1, k - 1), np.arange(2, k)], axis=1)
    return np.concatenate([*walls, fan[:, ::-1], fan + (n - 1) * k])


@lru_cache(maxsize=32)
def _circle(sides: int) -> np.ndarray:
    """Unit circle, (sides, 2); turned by half a step so that few sides stand on a flat edge."""
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _place(u: np.ndarray, v: np.ndarray, along: np.ndarray, axis: Axis) -> np.ndarray:
    """Stack in-plane coordinates and the coordinate along `axis` into points (..., 3)."""
    order = {"x": (along, u, v), "y": (u, along, v), "z": (u, v, along)}[axis]
    return np.stack(order, axis=-1)


def _rotation(axis: Axis, degrees: float) -> np.ndarray:
    """Right-handed rotation matrix about a coordinate axis, (3, 3)."""
    i = "xyz".index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    matrix[j, j] = matrix[k, k] = cosine
    matrix[j, k], matrix[k, j] = -sine, sine
    return matrix
