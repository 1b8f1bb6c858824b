"""Compiled shading of one view, pixel by pixel: what `shading` does between two calls of Embree.

Everything is float32 and in the order written, so that a view is the same to the bit on any machine's vector units.
"""

from __future__ import annotations

import math

import numpy as np
from numba import uint64

from ..kernels import kernel
from .camera import FLOOR_Z

# The inner cone holds the whole bounding sphere (half-angle asin(0.8 / 4) = 11.5 degrees): objects are lit in full.
_INNER, _OUTER = math.cos(math.radians(14.0)), math.cos(math.radians(32.0))
_CONE_OUTER, _CONE_SCALE = np.float32(_OUTER), np.float32(1 / (_INNER - _OUTER))
_DISTANCE = np.float32(4.0)  # LIGHT_DISTANCE
_FLOOR_Z = np.float32(FLOOR_Z)
_MINUS_INVERSE_DISTANCE = np.float32(-0.25)
# They sum to 1, so a white surface never clips.
_AMBIENT, _HEADLIGHT, _SPOT = np.float32(0.3), np.float32(0.14), np.float32(0.56)
# Smooth light is at most this many times that on the flat face; else it would end in a jagged edge of shadow.
_TERMINATOR = np.float32(3.0)
# How far outside of an object's box a ray or a floor point has to be to be left out, in pixels or in units.
_EDGE = np.float32(0.01)
_FAR = np.float32(1e9)
_ZERO, _HALF, _ONE, _TWO, _THREE = (np.float32(value) for value in (0, 0.5, 1, 2, 3))

_ROW = "Array(float32, 1, 'C', readonly=True)"
_ROWS = "Array(float32, 2, 'C', readonly=True)"
_PIXELS = "Array(int64, 1, 'C', readonly=True)"


@kernel(f"int64({_ROWS}, {_ROWS}, {_ROW}, float32, int64, {_ROWS}, {_PIXELS}, float32[:, ::1], int64[::1])")
def aim(outline, axes, origin, reach, size, rays, pixels, aimed, seen):
    """Leave out the rays of a camera that pass the object by: those outside of the box around its outline.

    Args:
        outline: (V, 3) float32, points whose convex hull holds the object.
        axes: (3, 3) float32, the camera's right, up and forward in the object's frame, by rows.
        origin: (3,) float32, the camera in the object's frame.
        reach: tangent of half its field of view.
        size: side of the image in pixels.
        rays: (3, r) float32.
        pixels: (r,) int64, the pixel of each.
        aimed: (r, 3) float32, to write the rays into that are left.
        seen: (r,) int64, to write their pixels into.

    Returns:
        How many are left.
    """
    left, right, top, bottom = _FAR, -_FAR, _FAR, -_FAR
    for i in range(len(outline)):
        x, y, z = outline[i, 0] - origin[0], outline[i, 1] - origin[1], outline[i, 2] - origin[2]
        depth = max(axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z, _EDGE) * reach
        across = (axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) / depth
        down = (axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) / -depth
        left, right = min(left, across), max(right, across)
        top, bottom = min(top, down), max(bottom, down)
    half = np.float32(size) * _HALF  # the middle of pixel i lies at (i + 1/2) / half - 1
    left, right = (left + _ONE) * half - _HALF - _EDGE, (right + _ONE) * half - _HALF + _EDGE
    top, bottom = (top + _ONE) * half - _HALF - _EDGE, (bottom + _ONE) * half - _HALF + _EDGE
    count = 0
    for ray in range(len(pixels)):
        row, column = np.float32(pixels[ray] // size), np.float32(pixels[ray] % size)
        if (column >= left) & (column <= right) & (row >= top) & (row <= bottom):
            aimed[count, 0], aimed[count, 1], aimed[count, 2] = rays[0, ray], rays[1, ray], rays[2, ray]
            seen[count] = pixels[ray]
            count += 1
    return count


@kernel(
    f"UniTuple(int64, 2)({_ROWS}, int32[::1], {_ROW}, {_ROW}, {_ROW}, {_ROWS}, {_ROW}, {_PIXELS}, "
    "int64[::1], float32[::1], float32[::1], float32[:, ::1], int64[::1], float32[:, ::1])"
)
def object_light(table, face, u, v, distance, rays, offset, pixels, hit, spot, plain, albedo, lit, beams):
    """Light what r rays of a camera have met; the last six arrays, r rows long, are written into from their beginning.

    Args:
        table: (F, 16) float32, `RayMesh.table`.
        face: (r,) int32, the face that each ray meets, or -1.
        u: (r,) float32, where in the face: the weight of its second corner.
        v: (r,) float32, that of the third.
        distance: (r,) float32, along the ray.
        rays: (r, 3) float32, unit vectors in the object's frame.
        offset: (3,) float32, from the light to the camera.
        pixels: (r,) int64, the pixel of each ray.
        hit: int64, the pixels that show the object.
        spot: float32, of each hit the share of the spot light that its surface gives back, if nothing is in its way.
        plain: float32, that of the other lights together.
        albedo: (r, 3) float32, of each hit the surface's colour in [0, 255].
        lit: int64, the hits (by their number among the hits) whose `spot` is not 0.
        beams: (r, 3) float32, of each lit hit the way from the light.

    Returns:
        How many hits there are, and how many of them are lit.
    """
    found, asked = 0, 0
    for ray in range(len(face)):
        if face[ray] < 0:
            continue
        row = table[uint64(face[ray])]
        x, y, z = rays[ray, 0], rays[ray, 1], rays[ray, 2]
        beam_x = x * distance[ray] + offset[0]
        beam_y = y * distance[ray] + offset[1]
        beam_z = z * distance[ray] + offset[2]
        normal_x = row[6] * u[ray] + row[9] * v[ray] + row[3]
        normal_y = row[7] * u[ray] + row[10] * v[ray] + row[4]
        normal_z = row[8] * u[ray] + row[11] * v[ray] + row[5]
        length = np.sqrt(normal_x * normal_x + normal_y * normal_y + normal_z * normal_z)
        side = np.sign(row[0] * x + row[1] * y + row[2] * z)  # -1 where the winding's normal points at the camera
        smooth = (normal_x * beam_x + normal_y * beam_y + normal_z * beam_z) / length
        flat = (row[0] * beam_x + row[1] * beam_y + row[2] * beam_z) * _TERMINATOR
        # A face turned away from the light is dark, whatever its corners' normals, and the light fades towards it.
        light = max(min(smooth * side, flat * side), _ZERO)
        light /= np.sqrt(beam_x * beam_x + beam_y * beam_y + beam_z * beam_z)
        facing = max((normal_x * x + normal_y * y + normal_z * z) * side, _ZERO)
        hit[found], spot[found] = pixels[ray], light
        plain[found] = facing / length * _HEADLIGHT + _AMBIENT
        albedo[found, 0], albedo[found, 1], albedo[found, 2] = row[12], row[13], row[14]
        if light != _ZERO:
            lit[asked] = found
            beams[asked, 0], beams[asked, 1], beams[asked, 2] = beam_x, beam_y, beam_z
            asked += 1
        found += 1
    return found, asked


@kernel(f"float32[:, ::1]({_ROW}, {_ROW}, {_ROWS}, {_PIXELS}, int32[::1], {_ROW})")
def object_rgb(spot, plain, albedo, lit, blocked, spot_rgb):
    """Return the colours of h hits, (h, 3) float32 in [0, 255]; the arguments are as `object_light` leaves them.

    Args:
        spot: (h or more,) float32.
        plain: (h or more,) float32.
        albedo: (h, 3) float32.
        lit: (m or more,) int64.
        blocked: (m,) int32, not -1 where something is between a lit hit and the light.
        spot_rgb: (3,) float32, the spot light's colour in [0, 1].
    """
    count = len(albedo)
    rgb = np.empty((count, 3), np.float32)
    light = spot[:count] * _SPOT
    for beam in range(len(blocked)):
        if blocked[beam] >= 0:
            light[lit[beam]] = _ZERO
    for i in range(count):
        for channel in range(3):
            rgb[i, channel] = (spot_rgb[channel] * light[i] + plain[i]) * albedo[i, channel]
    return rgb


@kernel(
    f"int64({_ROWS}, {_ROW}, {_ROW}, float32, {_ROWS}, {_ROW}, {_ROWS}, float32, {_PIXELS}, "
    "float32[::1], float32[::1], int64[::1], float32[:, ::1])"
)
def floor_light(floor, square, world, reach, shrink, light, outline, scale, hidden, along, beam, near, beams):
    """Light the floor under a cone; the last four arrays are written into.

    Args:
        floor: (3, pixels) float32, the floor points.
        square: (pixels,) float32, their squared distance from the origin.
        world: (3,) float32, the light.
        reach: cosine of the angle off the light's axis within which the object may throw its shadow.
        shrink: (3, 3) float32, world to object frame, for points.
        light: (3,) float32, the light in the object's frame.
        outline: (V, 3) float32, points whose convex hull holds the object, in its frame.
        scale: how many times as large the object is in the world.
        hidden: (h,) int64, pixels where the floor is not seen.
        along: (pixels,) float32, room for the cosine of that angle.
        beam: (pixels,) float32, the spot light that reaches each point.
        near: int64, the pixels within `reach`, and in the box around the outline's shadow, from the array's beginning.
        beams: float32, of each of them the way from the light in the object's frame, likewise.

    Returns:
        How many are near.
    """
    height = world[2] - _FLOOR_Z
    low_x, high_x, low_y, high_y = _FAR, -_FAR, _FAR, -_FAR
    grown = scale * scale  # the inverse of shrink is its transpose times this
    for i in range(len(outline)):
        x, y, z = outline[i, 0] * grown, outline[i, 1] * grown, outline[i, 2] * grown
        drop = height / (world[2] - (shrink[0, 2] * x + shrink[1, 2] * y + shrink[2, 2] * z))
        shadow_x = world[0] + (shrink[0, 0] * x + shrink[1, 0] * y + shrink[2, 0] * z - world[0]) * drop
        shadow_y = world[1] + (shrink[0, 1] * x + shrink[1, 1] * y + shrink[2, 1] * z - world[1]) * drop
        low_x, high_x = min(low_x, shadow_x - _EDGE), max(high_x, shadow_x + _EDGE)
        low_y, high_y = min(low_y, shadow_y - _EDGE), max(high_y, shadow_y + _EDGE)
    for i in range(uint64(len(along))):
        towards = world[0] * floor[0, i] + world[1] * floor[1, i] + world[2] * floor[2, i]
        inverse = _ONE / np.sqrt(square[i] - _TWO * towards + _DISTANCE * _DISTANCE)  # of the distance to the light
        cosine = (towards * _MINUS_INVERSE_DISTANCE + _DISTANCE) * inverse  # of the angle off the light's axis
        part = min(max((cosine - _CONE_OUTER) * _CONE_SCALE, _ZERO), _ONE)
        part *= part * (_THREE - _TWO * part)  # smoothstep
        beam[i] = part * inverse * height
        along[i] = cosine
    for i in range(len(hidden)):
        along[hidden[i]] = _ZERO
    count = 0
    for i in range(len(along)):
        x, y = floor[0, i], floor[1, i]
        if (along[i] > reach) & (x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y):
            near[count] = i
            for axis in range(3):
                point = shrink[axis, 0] * floor[0, i] + shrink[axis, 1] * floor[1, i] + shrink[axis, 2] * floor[2, i]
                beams[count, axis] = point - light[axis]
            count += 1
    return count


@kernel(
    f"UniTuple(int64, 3)({_ROWS}, int32[::1], {_ROW}, {_ROW}, {_ROW}, {_ROWS}, {_ROW}, {_PIXELS}, "
    "int64[::1], float32[::1], float32[::1], float32[:, ::1], int64[::1], float32[:, ::1], "
    f"{_ROWS}, {_ROW}, {_ROW}, float32, {_ROWS}, {_ROW}, {_ROWS}, float32, float32[::1], float32[::1], int64[::1])"
)
def scene_light(
    table,
    face,
    u,
    v,
    distance,
    rays,
    offset,
    pixels,
    hit,
    spot,
    plain,
    albedo,
    lit,
    beams,
    floor,
    square,
    world,
    reach,
    shrink,
    light,
    outline,
    scale,
    along,
    beam,
    near,
):
    """Do `object_light` and `floor_light`, the floor's beams behind the object's; return (hits, lit hits, near)."""
    found, asked = object_light(table, face, u, v, distance, rays, offset, pixels, hit, spot, plain, albedo, lit, beams)
    close = floor_light(
        floor, square, world, reach, shrink, light, outline, scale, hit[:found], along, beam, near, beams[asked:]
    )
    return found, asked, close


@kernel(
    f"void(float32[::1], {_PIXELS}, int32[::1], {_ROW}, {_ROW}, float32, {_ROW}, {_PIXELS}, {_ROW}, {_ROW}, {_ROWS}, "
    f"{_PIXELS}, int32[::1], {_ROW}, uint8[:, ::1])"
)
def paint(
    light, near, dark, floor_spot, ambient, texture, checks, hit, spot, plain, albedo, lit, blocked, spot_rgb, frame
):
    """Write the floor and the object before it into a frame.

    Args:
        light: (pixels,) float32, spot light on the floor; spoilt.
        near: (m or more,) int64, pixels that may lie in shadow.
        dark: (m,) int32, not -1 where they do.
        floor_spot: (3,) float32, colour of the floor under the spot light alone, in [0, 255].
        ambient: (3,) float32, colour of the floor under the other light, and a half, to round by.
        texture: how much darker every other square is.
        checks: (pixels,) float32, 1 on those squares; not read if `texture` is 0.
        hit: (h,) int64, pixels that show the object.
        spot: as `object_rgb` takes it, and the five that follow.
        plain: as there.
        albedo: as there.
        lit: as there.
        blocked: as there.
        spot_rgb: as there.
        frame: (pixels, 3) uint8, to write into.
    """
    for i in range(len(dark)):
        if dark[i] >= 0:
            light[near[i]] = _ZERO
    for i in range(uint64(len(light))):
        for channel in range(uint64(3)):
            value = light[i] * floor_spot[channel] + ambient[channel]
            if texture != _ZERO:
                value -= (value - _HALF) * (texture * checks[i])
            frame[i, channel] = np.uint8(value)
    rgb = object_rgb(spot, plain, albedo, lit, blocked, spot_rgb)
    for i in range(len(hit)):
        for channel in range(3):
            frame[hit[i], channel] = np.uint8(rgb[i, channel] + _HALF)
