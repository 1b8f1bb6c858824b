"""Object families of the outside: vehicles, aircraft, boats, tools and animals, each drawn on a `Sketch`."""

from __future__ import annotations

from .sketch import Sketch

# Road vehicles: they drive towards +x.


def _wheels(s: Sketch, front: float, back: float, track: float, radius: float, rear_axles: int = 1) -> None:
    """One front axle, and one or more behind it."""
    for x in (front, *(back + 2.1 * radius * k for k in range(rear_axles))):
        for sy in (-1, 1):
            s.lathe("limb", [(radius, -0.09), (radius, 0.09)], (x, sy * track, radius), axis="y", sides=12)


def car(s: Sketch) -> None:
    """A low body with a cabin, a grille and a tail wing, a striped left flank."""
    length, width, radius = s.vary(1.8, 2.2), s.vary(0.8, 1.0), s.vary(0.18, 0.24)
    sill, tall = radius * 0.8, s.vary(0.3, 0.4)
    deck = sill + tall
    s.box("body", (length, width, tall), (0, 0, sill + tall / 2), taper=(0.94, 0.95))
    cabin, rise, setback = length * s.vary(0.42, 0.58), s.vary(0.28, 0.4), s.vary(-0.3, -0.05)
    outline = [(-cabin / 2, 0), (cabin / 2, 0), (cabin * s.vary(0.15, 0.3), rise), (-cabin * s.vary(0.25, 0.42), rise)]
    s.prism("top", outline, width * 0.86, (setback, 0, deck), axis="y")
    _wheels(s, length * 0.3, -length * 0.32, width / 2, radius)
    s.box("front", (0.14, width * 0.9, tall * 0.75), (length / 2, 0, sill + tall * 0.45))
    s.box("front", (length * 0.16, width * 0.5, 0.06), (length * 0.36, 0, deck + 0.02))
    s.box("side", (length * s.vary(0.3, 0.36), 0.1, tall * 0.8), (-0.02, width / 2, sill + tall * 0.6))
    s.box("side", (0.12, 0.2, 0.16), (length * 0.2, width / 2 + 0.05, deck + 0.08))
    s.box("grip", (0.2, width * 0.95, 0.08), (-length * 0.46, 0, deck + s.vary(0.12, 0.2)))
    s.box("grip", (0.08, width * 0.4, 0.2), (-length * 0.46, 0, deck + 0.06))


def van(s: Sketch) -> None:
    """A tall box with a short sloping nose, a sliding door at the left, a roof box and a ladder behind."""
    length, width, radius = s.vary(1.7, 2.1), s.vary(0.8, 0.95), s.vary(0.18, 0.22)
    tall, nose = s.vary(0.75, 1.0), s.vary(0.2, 0.45)
    sill = radius * 0.8
    x, belt = length / 2, sill + tall * s.vary(0.4, 0.55)
    outline = [(-x, sill), (x, sill), (x, belt), (x - nose, sill + tall), (-x, sill + tall)]
    s.prism("body", outline, width, axis="y")
    _wheels(s, length * 0.3, -length * 0.32, width / 2, radius)
    s.box("front", (0.12, width * 0.9, (belt - sill) * 0.8), (x, 0, (sill + belt) / 2))
    s.box("top", (length * s.vary(0.4, 0.6), width * 0.7, 0.14), (-length * 0.1, 0, sill + tall + 0.06))
    s.box("side", (length * s.vary(0.32, 0.42), 0.1, tall * 0.7), (length * 0.02, width / 2, sill + tall * 0.5))
    s.box("grip", (0.12, width * 0.35, tall * 0.85), (-x - 0.03, -width * 0.22, sill + tall * 0.5))
    s.box("limb", (length * s.vary(0.2, 0.45), 0.06, tall * 0.3), (length * 0.1, -width / 2, sill + tall * 0.72))
    s.bar("grip", (-x - 0.08, width * 0.25, sill), (0, width * 0.25, sill), 0.07)


def truck(s: Sketch) -> None:
    """A cab in front of a flat or boxed bed, a chimney and a tank at the left."""
    length, width, radius = s.vary(2.0, 2.5), s.vary(0.75, 0.9), s.vary(0.19, 0.24)
    cab, tall = length * s.vary(0.24, 0.3), s.vary(0.6, 0.75)
    x, frame = length / 2, radius * 1.5
    s.box("limb", (length, width * 0.7, 0.14), (0, 0, frame))
    s.box("top", (cab, width, tall), (x - cab / 2, 0, frame + tall / 2), taper=(s.vary(0.7, 0.95), 0.95), lean=-0.04)
    s.box("front", (0.14, width * 0.85, tall * 0.5), (x, 0, frame + tall * 0.28))
    bed = length - cab - 0.1
    if s.chance(0.6):
        s.box("body", (bed, width, s.vary(0.65, 0.95)), (-x + bed / 2, 0, frame + 0.4))
    else:
        s.box("body", (bed, width, 0.16), (-x + bed / 2, 0, frame + 0.08))
        for k in range(2):
            s.bar("body", (-x + 0.05, (k - 0.5) * 0.4, frame + 0.35), (-x + bed, (k - 0.5) * 0.4, frame + 0.35), 0.2)
    _wheels(s, length * 0.34, -length * 0.36, width / 2, radius, s.count(1, 2))
    s.bar("side", (-bed * 0.35, width / 2, frame + 0.05), (bed * 0.25, width / 2, frame + 0.05), s.vary(0.15, 0.19))
    s.bar("side", (x - cab - 0.04, width * 0.42, frame), (x - cab - 0.04, width * 0.42, frame + tall + 0.3), 0.08)
    s.box("grip", (0.12, width * 0.9, 0.3), (-x, 0, frame + 0.1))


# Aircraft: they fly towards +x.


def plane(s: Sketch) -> None:
    """A fuselage with wings, tail and propeller; a float hangs under the left wing tip."""
    length, radius, span = s.vary(1.8, 2.2), s.vary(0.15, 0.2), s.vary(0.85, 1.15)
    chord, x = s.vary(0.38, 0.5), length / 2
    s.lathe("body", [(0.05, -x), (radius, -x * 0.1), (radius, x * 0.6), (radius * 0.75, x * 0.9)], axis="x", sides=12)
    low, sweep = s.chance(), s.vary(0.0, 0.35)
    z = -radius * 0.4 if low else radius * 0.9
    for sy in (-1, 1):
        root, tip = x * 0.25, x * 0.25 - sweep
        wing = [
            (root + chord / 2, 0),
            (tip + chord / 3, sy * span),
            (tip - chord / 3, sy * span),
            (root - chord / 2, 0),
        ]
        s.prism("limb", wing, 0.08, (0, 0, z), axis="z")
        tail = [(-x * 0.72, 0), (-x * 0.85, sy * span * 0.4), (-x, sy * span * 0.4), (-x, 0)]
        s.prism("limb", tail, 0.06, axis="z")
    rise = s.vary(0.4, 0.6)
    s.prism("grip", [(-x * 0.65, 0), (-x * 0.9, rise), (-x * 1.05, rise), (-x, 0)], 0.09, axis="y")
    s.bar("front", (x * 0.8, 0, 0), (x * 1.1, 0, 0), radius * 1.15, 0.08)
    s.box("front", (0.06, 0.14, s.vary(0.6, 0.8)), (x * 1.05, 0, 0))
    s.ball("top", (0.3, radius * 0.85, 0.2), (x * s.vary(0.3, 0.5), 0, radius * 0.95), sides=8)
    tip = x * 0.25 - sweep
    s.lathe("side", [(0.04, -0.3), (0.13, -0.1), (0.13, 0.2), (0.05, 0.32)], (tip, span, z), axis="x", sides=8)
    s.box("side", (length * 0.3, 0.1, radius * 1.1), (-x * 0.15, radius * 0.95, 0))


def helicopter(s: Sketch) -> None:
    """A bubble on skids under a rotor; the tail rotor and the door are at the left."""
    size, tail = s.vary(0.42, 0.52), s.vary(1.0, 1.4)
    s.ball("body", (size * 1.25, size * 0.85, size), (0, 0, 0), sides=12)
    s.bar("limb", (-size, 0, size * 0.3), (-size - tail, 0, size * 0.5), 0.16, 0.07)
    s.ball("front", (size * 0.6, size * 0.62, size * 0.6), (size * 0.82, 0, -0.02), sides=10)
    mast = size * s.vary(1.2, 1.45)
    s.bar("limb", (0, 0, size * 0.8), (0, 0, mast), 0.09)
    blades, start, reach = s.count(2, 4), s.vary(15, 75), s.vary(0.95, 1.25)
    for k in range(blades):
        angle = start + 360 * k / blades
        blade = [(0, -0.04), (reach, -0.09), (reach, 0.09), (0, 0.04)]
        s.prism("top", blade, 0.05, (0, 0, mast), axis="z", turn=("z", angle))
    for sy in (-1, 1):
        s.bar("grip", (-size, sy * size * 0.7, -size * 1.3), (size * 1.2, sy * size * 0.7, -size * 1.3), 0.06)
        s.bar("grip", (0, sy * size * 0.4, -size * 0.6), (0, sy * size * 0.7, -size * 1.3), 0.05)
    s.box("side", (size * 0.95, 0.14, size * 0.9), (-size * 0.15, size * 0.8, 0.02))
    s.lathe("side", [(0.26, 0), (0.26, 0.07)], (-size - tail * 0.93, 0.08, size * 0.5), axis="y", sides=10)
    s.box("grip", (0.3, 0.07, s.vary(0.4, 0.6)), (-size - tail * 0.9, 0, size * 0.6), lean=-0.12)


def rocket(s: Sketch) -> None:
    """A winged shuttle that stands upright: nose cone, rudder, a booster at the left, a hatch in front."""
    radius, height = s.vary(0.24, 0.34), s.vary(1.3, 1.7)
    s.lathe("body", [(radius * s.vary(0.75, 1.0), 0.15), (radius, height * 0.4), (radius * s.vary(0.8, 1.0), height)])
    s.lathe("top", [(radius, height * 0.96), (radius * 0.7, height + 0.22), (0.03, height + s.vary(0.4, 0.6))])
    s.lathe("grip", [(radius * 0.95, 0), (radius * 0.55, 0.2)])
    span, rise, sweep = radius + s.vary(0.4, 0.6), s.vary(0.6, 0.85), s.vary(95, 120)
    for turn in (-sweep, sweep):
        s.prism("limb", [(0, 0.05), (span, 0.0), (span, 0.25), (0, rise)], 0.08, axis="y", turn=("z", turn))
    s.prism("grip", [(0, 0.1), (-span, 0.0), (-span, s.vary(0.3, 0.5)), (0, rise + 0.1)], 0.1, axis="y")
    s.wrap("front", (radius, radius), (height * 0.5, height * s.vary(0.78, 0.88)), (-50, 50), 0.07)
    boost, side = height * s.vary(0.5, 0.65), radius + 0.13
    s.lathe("side", [(0.17, 0.1), (0.17, boost), (0.03, boost + 0.25)], (0, side, 0.05), sides=10)


# Boats: they sail towards +x.


def _hull(s: Sketch, length: float, width: float, depth: float, stern: float) -> None:
    """A hull from stern to bow with its deck at z = 0; `stern` is the transom's share of the width."""
    rings = []
    for x, breadth, keel in ((-0.5, stern, 0.75), (-0.15, 1.0, 1.0), (0.2, 0.85, 0.95), (0.5, 0.04, 0.35)):
        x, y, z = x * length, breadth * width / 2, -keel * depth
        rings.append([(x, -y, 0), (x, -y * 0.45, z), (x, y * 0.45, z), (x, y, 0)])
    s.loft("body", rings)


def sailboat(s: Sketch) -> None:
    """A hull with mast and main sail, a jib in front, a rudder behind, a float at the left."""
    length, width, mast = s.vary(1.4, 1.8), s.vary(0.5, 0.65), s.vary(1.4, 1.8)
    _hull(s, length, width, s.vary(0.3, 0.42), s.vary(0.5, 0.85))
    step = length * s.vary(0.08, 0.16)
    s.bar("limb", (step, 0, -0.05), (step, 0, mast), 0.06, 0.04)
    boom = length * s.vary(0.4, 0.5)
    s.bar("limb", (step, 0, 0.22), (step - boom, 0, 0.22), 0.05)
    s.prism("top", [(step - 0.03, 0.25), (step - 0.03, mast), (step - boom, 0.25)], 0.07, axis="y")
    s.prism(
        "front", [(step + 0.08, 0.15), (length * 0.5, 0.1), (step + 0.05, mast * s.vary(0.6, 0.85))], 0.07, axis="y"
    )
    s.prism(
        "grip", [(-length * 0.46, 0.22), (-length * 0.6, 0.22), (-length * 0.6, -0.45), (-length * 0.46, -0.3)], 0.12
    )
    s.ball("side", (length * 0.3, 0.13, 0.14), (0, width / 2 + s.vary(0.12, 0.22), -0.12), sides=8)
    s.box("side", (0.1, width * 0.6, 0.08), (0, width * 0.3, 0))


def ship(s: Sketch) -> None:
    """A long hull with deck houses and funnels aft, a bow plate, a crane over the left side."""
    length, width, depth = s.vary(1.9, 2.3), s.vary(0.5, 0.65), s.vary(0.35, 0.45)
    _hull(s, length, width, depth, s.vary(0.7, 0.95))
    floors, aft = s.count(1, 3), -length * s.vary(0.12, 0.3)
    for k in range(floors):
        s.box("top", (length * (0.34 - 0.07 * k), width * (0.75 - 0.1 * k), 0.22), (aft, 0, 0.1 + 0.21 * k))
    roof = 0.2 * floors
    for k in range(s.count(1, 2)):
        x = aft - 0.12 + 0.25 * k
        s.bar("limb", (x, 0, roof), (x - 0.08, 0, roof + s.vary(0.35, 0.5)), 0.11, 0.09)
    s.box("front", (length * 0.2, width * 0.5, 0.26), (length * 0.31, 0, 0.1), taper=(0.6, 0.6))
    s.box("front", (0.1, 0.12, 0.3), (length * 0.47, 0, 0.08))
    post = length * s.vary(0.05, 0.15)
    s.bar("grip", (post, 0, 0), (post, 0, 0.55), 0.07)
    s.bar("grip", (post, 0, 0.5), (post, width * 0.75, 0.65), 0.055)
    s.box("side", (length * s.vary(0.28, 0.38), 0.16, 0.22), (-length * 0.08, width / 2 + 0.03, 0.02))
    s.box("side", (0.24, 0.2, 0.2), (post, width * 0.75, 0.45))


def submarine(s: Sketch) -> None:
    """A spindle hull with a tower and periscope, a bow dome, tail planes, a torpedo pod at the left."""
    length, radius = s.vary(1.8, 2.3), s.vary(0.26, 0.34)
    x = length / 2
    profile = [(0.06, -x), (radius * 0.8, -x * 0.6), (radius, -x * 0.1), (radius, x * 0.55), (radius * 0.7, x * 0.85)]
    s.lathe("body", profile, axis="x", sides=14)
    s.ball("front", (0.3, radius * 0.85, radius * 0.85), (x * 0.82, 0, 0), sides=10)
    sail, rise = x * s.vary(0.05, 0.3), s.vary(0.3, 0.42)
    s.box(
        "top", (length * s.vary(0.2, 0.28), radius * 0.75, rise), (sail, 0, radius + rise / 2 - 0.06), taper=(0.75, 0.7)
    )
    s.bar("grip", (sail, 0, radius + rise - 0.1), (sail, 0, radius + rise + 0.3), 0.06)
    s.bar("grip", (sail, 0, radius + rise + 0.25), (sail + 0.25, 0, radius + rise + 0.25), 0.07)
    fin = radius + s.vary(0.12, 0.25)
    s.box("limb", (0.3, 2 * fin, 0.07), (-x * 0.85, 0, 0))
    s.box("limb", (0.3, 0.08, fin), (-x * 0.85, 0, fin / 2), lean=-0.1)
    s.box("limb", (0.2, 2 * radius + 0.4, 0.06), (sail + 0.15, 0, radius * 0.4))
    s.bar("side", (-x * 0.45, radius + 0.04, -0.05), (x * s.vary(0.1, 0.3), radius + 0.04, -0.05), 0.13)


# Tools: a handle along z with its head on top; the working end points to +x.


def _handle(s: Sketch, height: float, radius: float) -> None:
    """A tapered handle with a knob at its foot."""
    s.bar("grip", (0, 0, 0), (0, 0, height), radius, radius * s.vary(0.75, 0.95), sides=8)
    s.bar("limb", (0, 0, -0.12), (0, 0, 0.14), radius * 1.5, radius * 1.3)
    s.bar("limb", (0, 0, height * s.vary(0.66, 0.72)), (0, 0, height * 0.82), radius * 1.3)


def hammer(s: Sketch) -> None:
    """A striking face in front, a split claw behind, a cheek plate at the left."""
    height, reach = s.vary(1.2, 1.6), s.vary(0.4, 0.52)
    _handle(s, height, s.vary(0.08, 0.11))
    s.box("body", (0.42, 0.3, 0.3), (0, 0, height + 0.05))
    s.bar("body", (0.1, 0, height + 0.05), (reach, 0, height + 0.05), 0.13)
    s.bar("front", (reach - 0.06, 0, height + 0.05), (reach + 0.12, 0, height + 0.05), s.vary(0.18, 0.22), sides=10)
    drop = s.vary(0.15, 0.35)
    for sy in (-1, 1):
        claw = [(-0.15, height + 0.2), (-0.15, height - 0.08), (-reach - 0.2, height - drop), (-reach, height + 0.02)]
        s.prism("limb", claw, 0.12, (0, sy * 0.13, 0), axis="y")
    s.box("top", (0.36, 0.26, 0.14), (0, 0, height + 0.25), taper=(0.8, 0.8))
    s.box("side", (0.34, 0.14, s.vary(0.26, 0.36)), (0.02, 0.2, height + 0.03))


def axe(s: Sketch) -> None:
    """A flaring blade in front, a short poll behind, a cheek plate at the left."""
    height, reach, edge = s.vary(1.3, 1.7), s.vary(0.5, 0.65), s.vary(0.35, 0.5)
    _handle(s, height, s.vary(0.08, 0.11))
    s.box("body", (0.5, 0.26, 0.34), (-0.08, 0, height))
    flare = edge * s.vary(0.9, 1.4)
    rings = []
    for x, half, low, high in ((0.1, 0.11, -0.16, 0.16), (reach, 0.03, -flare, edge * 0.6)):
        low, high = height + low, height + high
        rings.append([(x, -half, low), (x, half, low), (x, half, high), (x, -half, high)])
    s.loft("front", rings)
    s.box("top", (0.4, 0.22, 0.16), (-0.08, 0, height + 0.24), taper=(0.8, 0.8))
    s.box("side", (s.vary(0.34, 0.42), 0.14, 0.3), (-0.06, 0.17, height))
    if s.chance():
        s.prism("limb", [(-0.3, height - 0.12), (-0.3, height + 0.12), (-0.55, height)], 0.14, axis="y")


def mallet(s: Sketch) -> None:
    """A barrel or block for a head, a rubber face in front, a side plate at the left."""
    height, reach, radius = s.vary(1.1, 1.5), s.vary(0.42, 0.58), s.vary(0.22, 0.3)
    _handle(s, height, s.vary(0.08, 0.12))
    z = height + 0.1
    if s.chance():
        s.bar("body", (-reach, 0, z), (reach, 0, z), radius, sides=12)
        s.bar("front", (reach - 0.05, 0, z), (reach + 0.12, 0, z), radius * 1.12, radius, sides=12)
    else:
        s.box("body", (reach * 2, radius * 1.7, radius * 1.9), (0, 0, z))
        s.box("front", (0.18, radius * 1.9, radius * 2.1), (reach, 0, z))
    s.box("limb", (0.14, radius * 1.3, radius * 1.3), (-reach - 0.05, 0, z), taper=(1, 0.7))
    s.box("top", (reach * s.vary(0.6, 0.8), 0.26, 0.16), (0, 0, z + radius))
    s.box("side", (reach * s.vary(0.7, 1.0), 0.16, radius * 1.2), (0, radius * 0.95, z))


# Animals: they look towards +x.


def _trunk(s: Sketch, length: float, radius: float, leg: float, thickness: float) -> float:
    """A barrel on four legs; returns the height of its axis."""
    axis = leg + radius * 0.7
    profile = [(0.08, -0.5), (0.85, -0.38), (s.vary(0.85, 1.0), 0.0), (1.0, 0.3), (0.5, 0.5)]
    s.lathe("body", [(r * radius, h * length) for r, h in profile], (0, 0, axis), axis="x", sides=12)
    stride = s.vary(-0.12, 0.12)
    for sx in (-1, 1):
        for sy in (-1, 1):
            hip = (sx * length * 0.34, sy * radius * 0.6, axis)
            s.bar("limb", (hip[0] + sx * sy * stride, hip[1], 0), hip, thickness, thickness * 1.4)
    return axis


def dog(s: Sketch) -> None:
    """A short neck, a muzzle, hanging ears, a raised tail, a coat, a bag at the left."""
    length, radius = s.vary(1.0, 1.3), s.vary(0.23, 0.3)
    axis = _trunk(s, length, radius, s.vary(0.4, 0.6), s.vary(0.06, 0.08))
    x, z = length / 2 + 0.14, axis + s.vary(0.28, 0.42)
    s.bar("body", (length * 0.36, 0, axis), (x, 0, z), radius * 0.75, 0.14)
    s.ball("front", (0.24, 0.2, 0.2), (x, 0, z), sides=8)
    s.bar("front", (x + 0.1, 0, z - 0.05), (x + s.vary(0.32, 0.42), 0, z - 0.08), 0.13, 0.09)
    for sy in (-1, 1):
        s.box("grip", (0.16, 0.08, 0.32), (x - 0.06, sy * 0.2, z - 0.02))
    s.bar("grip", (-length * 0.46, 0, axis + 0.1), (-length / 2 - s.vary(0.1, 0.3), 0, axis + 0.5), 0.07, 0.05)
    s.box("top", (length * s.vary(0.4, 0.5), radius * 1.2, 0.14), (-0.02, 0, axis + radius * 0.9))
    s.box("side", (length * 0.32, 0.16, radius * s.vary(0.9, 1.2)), (-0.02, radius * 0.95, axis))


def horse(s: Sketch) -> None:
    """A long neck with a mane, a long face, long legs, a saddle, a saddle bag at the left."""
    length, radius = s.vary(1.1, 1.4), s.vary(0.24, 0.3)
    axis = _trunk(s, length, radius, s.vary(0.7, 0.9), s.vary(0.06, 0.085))
    x, z = length / 2 + s.vary(0.15, 0.3), axis + s.vary(0.55, 0.75)
    s.bar("body", (length * 0.34, 0, axis), (x, 0, z), radius * 0.8, 0.13)
    s.bar("front", (x - 0.1, 0, z + 0.06), (x + s.vary(0.36, 0.48), 0, z - 0.2), 0.17, 0.1)
    neck = [(length * 0.22, axis + 0.2), (x - 0.14, z + 0.16), (x - 0.02, z + 0.16), (length * 0.4, axis + 0.2)]
    s.prism("grip", neck, 0.12, axis="y")
    s.bar("grip", (-length * 0.48, 0, axis + 0.08), (-length / 2 - 0.2, 0, axis - s.vary(0.4, 0.6)), 0.09, 0.05)
    s.box("top", (length * s.vary(0.3, 0.4), radius * 1.3, 0.16), (-0.05, 0, axis + radius * 0.95))
    s.box("side", (length * 0.32, 0.16, radius * s.vary(1.1, 1.4)), (-0.08, radius * 0.95, axis - 0.05))


def cow(s: Sketch) -> None:
    """A heavy barrel on short legs, horns, a low head, a pack on the back, a bell bag at the left."""
    length, radius = s.vary(1.2, 1.5), s.vary(0.34, 0.42)
    axis = _trunk(s, length, radius, s.vary(0.4, 0.55), s.vary(0.08, 0.11))
    x, z = length / 2 + 0.2, axis + s.vary(0.1, 0.3)
    s.bar("body", (length * 0.36, 0, axis), (x, 0, z), radius * 0.75, 0.17)
    s.box("front", (0.42, 0.3, 0.3), (x + 0.12, 0, z), turn=("y", s.vary(10, 35)))
    for sy in (-1, 1):
        s.bar("grip", (x, sy * 0.1, z + 0.1), (x + 0.06, sy * s.vary(0.32, 0.4), z + s.vary(0.3, 0.4)), 0.08, 0.03)
    s.bar("grip", (-length * 0.46, 0, axis + 0.15), (-length / 2 - 0.12, 0, axis - 0.45), 0.06, 0.08)
    s.box("top", (length * s.vary(0.32, 0.45), radius * 1.2, 0.18), (-0.05, 0, axis + radius * 0.95))
    s.box("side", (length * 0.34, 0.16, radius * s.vary(0.8, 1.1)), (0.02, radius * 0.97, axis + 0.03))
