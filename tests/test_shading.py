"""The shading kernels give, to the bit, what NumPy gives in float32 in the order that is written in them."""

import numpy as np
import pytest

from glimpseworld.envs.rendering.camera import FLOOR_Z
from glimpseworld.envs.rendering.shading_kernels import floor_light, object_light, object_rgb, paint

F = np.float32


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def test_the_object_is_lit_as_in_numpy(rng):
    rays, faces = 500, 40
    table = rng.normal(size=(faces, 16)).astype(F)
    face = rng.integers(-1, faces, rays).astype(np.int32)
    u, v, distance = rng.random((3, rays)).astype(F)
    ways = rng.normal(size=(3, rays)).astype(F)
    offset, pixels = rng.normal(size=3).astype(F), np.sort(rng.choice(1000, rays, replace=False))
    hit, lit = np.empty((2, rays), np.int64)
    spot, plain = np.empty((2, rays), F)
    albedo, beams = np.empty((2, rays, 3), F)
    found, asked = object_light(
        table, face, u, v, distance, ways.T.copy(), offset, pixels, hit, spot, plain, albedo, lit, beams
    )

    met = face >= 0
    rows, seen = table[face[met]].T, ways[:, met]
    normal = rows[6:9] * u[met] + rows[9:12] * v[met] + rows[3:6]
    beam = seen * distance[met] + offset[:, None]
    length, side = np.sqrt(dot(normal, normal)), np.sign(dot(rows[:3], seen))
    light = np.minimum(dot(normal, beam) / length * side, dot(rows[:3], beam) * F(3) * side).clip(0)
    light = light / np.sqrt(dot(beam, beam))
    assert found == met.sum()
    np.testing.assert_array_equal(hit[:found], pixels[met])
    np.testing.assert_array_equal(spot[:found], light)
    np.testing.assert_array_equal(plain[:found], (dot(normal, seen) * side).clip(0) / length * F(0.14) + F(0.3))
    np.testing.assert_array_equal(albedo[:found], rows[12:15].T)
    assert 50 < asked < found
    np.testing.assert_array_equal(lit[:asked], np.flatnonzero(light))
    np.testing.assert_array_equal(beams[:asked], beam.T[light != 0])


def test_a_blocked_hit_has_only_the_other_lights():
    spot, plain = np.array([0.5, 0.0, 1.0], F), np.array([0.25, 0.5, 0.25], F)
    albedo = np.array([[100, 200, 40]] * 3, F)
    colour = np.array([1, 0.5, 0], F)
    rgb = object_rgb(spot, plain, albedo, np.array([0, 2]), np.array([-1, 7], np.int32), colour)
    lit = F(0.5) * F(0.56)
    np.testing.assert_array_equal(rgb[0], [(lit + F(0.25)) * 100, (lit / 2 + F(0.25)) * 200, 10])
    np.testing.assert_array_equal(rgb[1:], [[50, 100, 20], [25, 50, 10]])


def test_the_floor_is_lit_as_in_numpy_and_only_what_is_seen_near_the_axis_is_asked_about(rng):
    floor = rng.normal(size=(3, 400)).astype(F)
    world = F([0.5, -1, 3.5])
    square, along = (floor**2).sum(axis=0), world[0] * floor[0] + world[1] * floor[1] + world[2] * floor[2]
    beam, near, beams = np.empty(400, F), np.empty(400, np.int64), np.empty((400, 3), F)
    hidden = np.arange(0, 400, 3)
    shrink, light = rng.normal(size=(3, 3)).astype(F), rng.normal(size=3).astype(F)
    everywhere = 50 * rng.normal(size=(40, 3)).astype(F)
    shape = shrink, light, everywhere, F(1)
    asked = floor_light(floor, square, world, F(0.9), *shape, hidden, np.empty(400, F), beam, near, beams)

    inner, outer = np.cos(np.radians([14.0, 32.0]))
    inverse = 1 / np.sqrt(square - 2 * along + F(16))
    cosine = (along * F(-0.25) + F(4)) * inverse
    part = ((cosine - F(outer)) * F(1 / (inner - outer))).clip(0, 1)
    np.testing.assert_array_equal(beam, part * (part * (3 - 2 * part)) * inverse * (world[2] - F(FLOOR_Z)))
    cosine[hidden] = 0
    assert 10 < asked < 300
    np.testing.assert_array_equal(near[:asked], np.flatnonzero(cosine > F(0.9)))
    np.testing.assert_allclose(beams[:asked], (shrink @ floor).T[near[:asked]] - light, atol=1e-5)


def test_shadow_texture_and_object_are_painted_where_they_are():
    light, ambient = np.ones(5, F), np.array([10.5, 20.5, 30.5], F)
    floor_spot, checks = np.array([100, 50, 0], F), np.array([0, 1, 1, 0, 0], F)
    near, dark = np.array([0, 1, 4]), np.array([-1, 0, -1], np.int32)
    hit, albedo = np.array([3]), np.array([[1.4, 2.5, 254.9]], F)
    lights = np.zeros(1, F), np.ones(1, F)  # nothing of the spot, all of the others
    frame = np.zeros((5, 3), np.uint8)
    nothing = np.empty(0, np.int64), np.empty(0, np.int32)
    shown = hit, *lights, albedo, *nothing, np.ones(3, F)
    paint(light, near, dark, floor_spot, ambient, F(0.5), checks, *shown, frame)
    assert frame.tolist() == [[110, 70, 30], [5, 10, 15], [55, 35, 15], [1, 3, 255], [110, 70, 30]]
