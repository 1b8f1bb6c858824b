"""Object families of a home: seats, tables, vessels and lamps, each drawn on a `Sketch`."""

from __future__ import annotations

from .sketch import Role, Sketch


def _legs(s: Sketch, x: float, y: float, height: float, thickness: float, splay: float = 0.0) -> None:
    """Four legs from the floor to the corners (+-x, +-y) at `height`, round or square."""
    square = s.chance()
    for sx in (-1, 1):
        for sy in (-1, 1):
            foot, head = (sx * (x + splay), sy * (y + splay), 0.0), (sx * x, sy * y, height)
            s.bar("limb", foot, head, thickness * s.vary(0.75, 1.0), thickness, sides=4 if square else 8)


# Seats: something to sit on at the top, legs or a plinth below.


def chair(s: Sketch) -> None:
    """Four legs, a back, a front rail, and a writing tablet on the left arm."""
    depth, width, height = s.vary(0.8, 1.1), s.vary(0.8, 1.1), s.vary(0.75, 1.0)
    back, lean = s.vary(0.8, 1.3), s.vary(-0.25, -0.02)
    _legs(s, depth / 2 - 0.08, width / 2 - 0.08, height, s.vary(0.05, 0.09), s.vary(0.0, 0.1))
    s.box("body", (depth, width, 0.1), (0, 0, height))
    s.box("top", (depth * 0.85, width * 0.85, 0.08), (0.03, 0, height + 0.08))
    if s.chance():
        s.box("body", (0.09, width, back), (-depth / 2, 0, height + back / 2), lean=lean)
    else:
        for k in range(s.count(2, 4)):
            s.box("body", (0.08, width, 0.15), (-depth / 2 + lean * k / 4, 0, height + 0.3 + 0.27 * k))
        for sy in (-1, 1):
            foot = (-depth / 2, sy * (width / 2 - 0.06), height)
            s.bar("limb", foot, (-depth / 2 + lean, foot[1], height + back), 0.06)
    s.bar("grip", (-depth / 2 + lean, -width / 2, height + back), (-depth / 2 + lean, width / 2, height + back), 0.09)
    s.box("front", (0.08, width * 0.95, s.vary(0.2, 0.3)), (depth / 2 + 0.01, 0, height - 0.15))
    rest = height + s.vary(0.35, 0.45)
    s.box("limb", (0.09, 0.07, rest - height), (0, width / 2, (rest + height) / 2))
    s.box("side", (depth * 0.9, s.vary(0.25, 0.4), 0.08), (0.08, width / 2 + 0.05, rest))


def stool(s: Sketch) -> None:
    """Three or four splayed legs, a round or square seat, a foot rest in front, a bag hung on the left."""
    radius, height = s.vary(0.42, 0.6), s.vary(0.9, 1.4)
    _legs(s, radius * 0.55, radius * 0.55, height, s.vary(0.05, 0.08), s.vary(0.08, 0.25))
    if s.chance():
        s.lathe("body", [(radius, height), (radius, height + 0.14)])
        s.lathe("top", [(radius * 0.92, height + 0.14), (radius * 0.8, height + s.vary(0.2, 0.3))])
    else:
        s.box("body", (radius * 1.9, radius * 1.9, 0.14), (0, 0, height + 0.07))
        s.box("top", (radius * 1.75, radius * 1.75, s.vary(0.07, 0.14)), (0, 0, height + 0.18))
    rest = height * s.vary(0.25, 0.45)
    s.box("front", (0.26, radius * 1.6, 0.12), (radius * 0.85, 0, rest))
    s.box("side", (radius, 0.16, height * s.vary(0.3, 0.4)), (0, radius + 0.05, height * 0.75))
    s.arch("grip", (-radius, 0, height + 0.12), (0.28, s.vary(0.3, 0.55)), 0.07, (0, 180), axis="x")


def bench(s: Sketch) -> None:
    """A long seat on two trestles, often with a back, an arm rest on the left, a board in front."""
    length, depth, height = s.vary(1.7, 2.3), s.vary(0.6, 0.8), s.vary(0.55, 0.75)
    for sy in (-1, 1):
        at = (0, sy * (length / 2 - 0.2), height / 2)
        s.box("limb", (depth * 0.9, 0.13, height), at, taper=(s.vary(0.5, 1.0), 1))
    s.box("body", (depth, length, 0.12), (0, 0, height))
    s.box("top", (depth * 0.9, length * s.vary(0.5, 0.65), 0.12), (0, -length * 0.12, height + 0.11))
    if s.chance(0.7):
        for k in range(s.count(1, 3)):
            s.box("body", (0.08, length, 0.16), (-depth / 2 - 0.05 * k, 0, height + 0.25 + 0.22 * k))
        for y in (-length / 3, length / 3):
            s.box("limb", (0.08, 0.1, 0.8), (-depth / 2 - 0.02, y, height + 0.35), lean=-0.1)
    s.box("front", (0.1, length * 0.9, s.vary(0.2, 0.28)), (depth / 2, 0, height - 0.12))
    rise = s.vary(0.35, 0.5)
    s.box("side", (depth, 0.12, rise), (0, length / 2, height + rise / 2))
    s.bar("grip", (-depth / 2, length / 2, height + rise), (depth / 2 + 0.1, length / 2, height + rise), 0.09)


def sofa(s: Sketch) -> None:
    """A low padded block with a thick back, a tall left arm and a bolster at the right."""
    width, depth, base = s.vary(1.5, 2.2), s.vary(0.85, 1.05), s.vary(0.3, 0.4)
    arm, back = s.vary(0.35, 0.5), s.vary(0.6, 0.85)
    for sx in (-1, 1):
        for sy in (-1, 1):
            s.bar("limb", (sx * depth * 0.42, sy * width * 0.42, 0), (sx * depth * 0.42, sy * width * 0.42, 0.3), 0.1)
    s.box("body", (depth, width, base), (0, 0, 0.25 + base / 2))
    s.box("body", (0.28, width, back), (-depth / 2, 0, 0.25 + base + back / 2), lean=s.vary(-0.15, 0))
    n, seat = s.count(1, 3), 0.25 + base + 0.08
    for k in range(n):
        s.box("top", (depth * 0.75, width / n * 0.93, 0.18), (0.1, width * ((k + 0.5) / n - 0.5), seat))
    s.box("front", (0.1, width * 0.9, base * 0.7), (depth / 2 + 0.03, 0, 0.25 + base / 2))
    s.box("side", (depth * 1.02, 0.26, base + arm), (0, width / 2 + 0.08, 0.25 + (base + arm) / 2))
    s.bar("grip", (-depth / 2, -width / 2, seat + 0.2), (depth / 2, -width / 2, seat + 0.2), s.vary(0.14, 0.2))


# Tables: boards and boxes that hold things.


def desk(s: Sketch) -> None:
    """A slab on legs at the right and a drawer pedestal at the left, with a blotter and a monitor stand."""
    width, depth, height = s.vary(1.5, 1.9), s.vary(0.75, 0.95), s.vary(0.8, 1.0)
    pedestal = s.vary(0.4, 0.55)
    s.box("body", (depth, width, 0.1), (0, 0, height))
    for sx in (-1, 1):
        s.bar(
            "limb",
            (sx * depth * 0.42, -width * 0.45, 0),
            (sx * depth * 0.42, -width * 0.45, height),
            s.vary(0.05, 0.08),
        )
    s.box("limb", (0.06, width * 0.9, height * 0.45), (-depth * 0.45, 0, height * 0.7))
    s.box("side", (depth * 0.9, pedestal, height * 0.9), (0, width / 2 - pedestal / 2, height * 0.5))
    drawers = s.count(2, 3)
    for k in range(drawers):
        z, tall = height * (0.1 + 0.8 * (k + 0.5) / drawers), height * 0.7 / drawers
        s.box("front", (0.12, pedestal * 0.88, tall), (depth * 0.45, width / 2 - pedestal / 2, z))
        s.box("grip", (0.14, pedestal * 0.45, 0.08), (depth * 0.49, width / 2 - pedestal / 2, z))
    s.box("top", (depth * 0.55, width * s.vary(0.35, 0.5), 0.06), (0.08, -width * 0.15, height + 0.08))
    rise = s.vary(0.15, 0.3)
    s.box("grip", (0.2, width * 0.45, rise), (-depth * 0.38, -width * 0.1, height + rise / 2))


def table(s: Sketch) -> None:
    """A rectangular or round slab on four legs, a drawer in front, a hanging leaf at the left."""
    width, depth, height = s.vary(1.3, 1.8), s.vary(0.8, 1.1), s.vary(0.7, 1.0)
    _legs(s, depth / 2 - 0.1, width / 2 - 0.12, height, s.vary(0.05, 0.1), s.vary(0.0, 0.08))
    if s.chance(0.6):
        s.box("body", (depth, width, 0.11), (0, 0, height))
    else:
        slab = [(depth * 0.56, -width / 2), (depth * 0.56, width / 2), (0, width / 2 + 0.05)]
        slab += [(-depth * 0.5, width * 0.35), (-depth * 0.5, -width * 0.35), (0, -width / 2 - 0.05)]
        s.prism("body", slab, 0.11, (0, 0, height), axis="z")
    s.box("top", (depth * 0.9, width * s.vary(0.25, 0.35), 0.06), (0, -width * 0.12, height + 0.08))
    s.box("front", (0.14, width * s.vary(0.5, 0.65), 0.24), (depth / 2 - 0.02, 0, height - 0.16))
    s.bar("grip", (depth / 2, 0, height - 0.17), (depth / 2 + 0.18, 0, height - 0.17), 0.07, 0.1)
    drop = s.vary(0.35, 0.5)
    s.box("side", (depth * 0.8, 0.09, drop), (0, width / 2 + 0.05, height - drop / 2 + 0.06))
    s.bar(
        "grip",
        (-depth * 0.3, -width * 0.3, height),
        (-depth * 0.3, -width * 0.3, height + s.vary(0.25, 0.4)),
        0.1,
        0.13,
    )


def shelf(s: Sketch) -> None:
    """Boards between two uprights before a back, with a drawer box, books, and a panel on the left upright."""
    width, depth, height = s.vary(0.9, 1.3), s.vary(0.4, 0.55), s.vary(1.3, 1.8)
    boards = s.count(3, 4)
    gap = height / boards
    for sy in (-1, 1):
        s.box("limb", (depth, 0.08, height), (0, sy * width / 2, height / 2))
    for k in range(boards):
        s.box("body", (depth, width, 0.08), (0, 0, 0.06 + k * gap))
    cover = height * s.vary(0.55, 1.0)
    s.box("body", (0.06, width, cover), (-depth / 2, 0, height - cover / 2))
    s.box("top", (depth * 1.2, width * 1.1, 0.12), (0, 0, height + 0.04))
    level = s.count(0, boards - 1)
    s.box("front", (depth, width * 0.5, gap * 0.75), (0.08, -width * 0.22, 0.08 + (level + 0.45) * gap))
    books = (level + s.count(1, boards - 1)) % boards
    for k in range(s.count(2, 4)):
        tall = gap * s.vary(0.45, 0.75)
        s.box("grip", (depth * 0.9, 0.1, tall), (0.05, width * (0.08 + 0.11 * k), 0.1 + books * gap + tall / 2))
    s.box("side", (depth * 1.05, 0.12, height * s.vary(0.35, 0.55)), (0.02, width / 2 + 0.06, height * 0.62))


def cabinet(s: Sketch) -> None:
    """A closed box on feet with one door, drawers beside it, a board on top and a rack at the left."""
    width, depth, height = s.vary(0.8, 1.3), s.vary(0.5, 0.7), s.vary(0.9, 1.4)
    for sx in (-1, 1):
        for sy in (-1, 1):
            s.box("limb", (0.12, 0.12, 0.24), (sx * depth * 0.4, sy * width * 0.42, 0.12))
    s.box("body", (depth, width, height), (0, 0, 0.2 + height / 2))
    s.box("top", (depth * 1.15, width * 1.1, 0.12), (0.02, 0, 0.24 + height))
    s.box("front", (0.1, width * 0.5, height * 0.8), (depth / 2, -width * 0.2, 0.2 + height / 2))
    s.bar("grip", (depth / 2 + 0.1, -0.02, 0.2 + height * 0.3), (depth / 2 + 0.1, -0.02, 0.2 + height * 0.7), 0.06)
    for k in range(s.count(1, 3)):
        s.box("limb", (0.08, width * 0.3, height * 0.2), (depth / 2, width * 0.28, 0.2 + height * (0.2 + 0.28 * k)))
    tall = height * s.vary(0.35, 0.55)
    s.box("side", (depth * 0.8, 0.16, tall), (0.05, width / 2 + 0.06, 0.2 + height * s.vary(0.4, 0.6)))
    s.box("grip", (depth * 0.3, width * 0.35, s.vary(0.15, 0.35)), (-depth * 0.25, -width * 0.25, height + 0.4))


# Vessels: hollow bodies of revolution; handles and labels break the symmetry.


def _hollow(s: Sketch, profile: list[tuple[float, float]], wall: float) -> None:
    """A vessel whose outer wall is `profile` from the bottom up, open at the top."""
    inner = [(max(radius - wall, 0.02), height) for radius, height in reversed(profile)]
    floor = profile[0][1] + wall
    inner[-1] = (inner[-1][0], floor)
    s.lathe("body", [(0, profile[0][1]), *profile, *inner, (0, floor)])


def mug(s: Sketch) -> None:
    """A cup with an ear at the right, a label in front, and a badge on the left."""
    radius, height, flare = s.vary(0.42, 0.6), s.vary(0.8, 1.3), s.vary(0.95, 1.15)
    rim = radius * flare
    _hollow(s, [(radius, 0.06), (rim, height)], 0.07)
    s.lathe("limb", [(radius * 0.95, 0), (radius * 1.06, 0.03), (radius * 1.04, 0.16)])
    s.arch("top", (0, 0, height), (rim, rim), 0.065, axis="z", sides=5)
    reach = s.vary(0.3, 0.42)
    s.arch("grip", (0, -radius, height * 0.52), (reach, height * s.vary(0.28, 0.36)), 0.09, (80, 280), axis="x")
    s.wrap("front", (radius, rim), (height * 0.2, height * s.vary(0.65, 0.8)), (-42, 42), 0.05)
    s.wrap("side", (radius, rim), (height * 0.25, height * s.vary(0.55, 0.7)), (68, 115), 0.09)


def bucket(s: Sketch) -> None:
    """A tapered pail with a bail over the top, a pouring lip in front and a patch on the left."""
    radius, height = s.vary(0.38, 0.52), s.vary(0.75, 1.1)
    rim = radius * s.vary(1.25, 1.6)
    _hollow(s, [(radius, 0.05), (rim, height)], 0.06)
    s.lathe("limb", [(radius * 1.02, 0), (radius * 1.1, 0.02), (radius * 1.12, 0.16)])
    s.arch("top", (0, 0, height), (rim, rim), 0.06, axis="z", sides=5)
    s.arch("grip", (s.vary(-0.15, 0.05), 0, height), (rim, s.vary(0.5, 0.9)), 0.06, (0, 180), axis="x")
    s.prism(
        "front", [(rim * 0.9, -0.25), (rim + s.vary(0.25, 0.35), 0), (rim * 0.9, 0.25)], 0.2, (0, 0, height), axis="z"
    )
    middle = (radius + rim) / 2
    s.wrap("front", (radius * 1.03, middle), (height * 0.1, height * 0.55), (-35, 35), 0.05)
    s.wrap("side", (middle, rim), (height * 0.45, height * s.vary(0.8, 0.9)), (55, 125), 0.08)


def vase(s: Sketch) -> None:
    """A bellied jar with a neck, one ear behind, a medallion in front and a rosette on the left."""
    foot, belly, neck = s.vary(0.25, 0.4), s.vary(0.5, 0.68), s.vary(0.2, 0.32)
    height, bulge = s.vary(1.3, 1.7), s.vary(0.35, 0.55)
    rim = neck * s.vary(1.15, 1.6)
    waist = height * 0.78
    profile = [
        (foot, 0.06),
        (belly * 0.9, height * bulge * 0.55),
        (belly, height * bulge),
        (belly * 0.8, height * 0.65),
    ]
    _hollow(s, [*profile, (neck, waist), (rim, height)], 0.05)
    s.lathe("limb", [(foot * 1.3, 0), (foot * 1.3, 0.1), (foot, 0.16)])
    s.arch("top", (0, 0, height), (rim, rim), 0.075, axis="z", sides=5)
    size = s.vary(0.22, 0.3)
    s.ball("front", (0.14, size, size * 1.2), (belly * 0.95, 0, height * bulge), sides=8)
    s.ball("side", (size, 0.16, size * 0.9), (0, belly * 0.93, height * (bulge + 0.06)), sides=8)
    s.arch("grip", (-belly * 0.5, 0, height * 0.68), (s.vary(0.35, 0.5), height * 0.24), 0.08, (95, 240), axis="y")


def teapot(s: Sketch) -> None:
    """A round pot with a spout in front, a handle behind, a lid, and a rosette on the left."""
    radius, squat = s.vary(0.5, 0.62), s.vary(0.75, 1.0)
    middle, crown = radius * squat + 0.1, 2 * radius * squat * 0.93 + 0.1
    s.ball("body", (radius, radius, radius * squat), (0, 0, middle), sides=14)
    s.lathe("limb", [(radius * 0.7, 0), (radius * 0.75, 0.14), (radius * 0.6, 0.22)])
    s.lathe("top", [(radius * 0.6, crown - 0.08), (radius * 0.5, crown + 0.07), (0.08, crown + 0.14)], sides=12)
    s.ball("top", (0.11, 0.11, 0.13), (0, 0, crown + 0.2), sides=8)
    tip = (radius + s.vary(0.35, 0.5), 0.0, middle + radius * squat * s.vary(0.6, 1.0))
    s.bar("front", (radius * 0.75, 0, middle * 0.8), tip, 0.2, 0.09)
    reach = s.vary(0.35, 0.45)
    s.arch("grip", (-radius * 0.9, 0, middle), (reach, radius * squat * 0.75), 0.08, (75, 285), axis="y")
    size = s.vary(0.22, 0.28)
    s.ball("side", (size, 0.13, size), (0, radius * 0.95, middle), sides=8)


# Lamps: a foot, a stem and a shade.


def _shade(
    s: Sketch, low: float, high: float, height: float, at: tuple[float, float, float], role: Role = "top"
) -> None:
    """A hollow cone, open at both ends."""
    wall = 0.05
    points = [(low, 0), (high, height), (high - wall, height), (low - wall, 0.0), (low, 0.0)]
    s.lathe(role, points, at)


def desk_lamp(s: Sketch) -> None:
    """A jointed arm on a round or square foot with a shade that leans forward, a switch box and a pen cup."""
    foot = s.vary(0.4, 0.52)
    if s.chance():
        s.lathe("body", [(foot, 0), (foot, 0.12), (foot * 0.8, 0.2)])
    else:
        s.box("body", (foot * 1.9, foot * 1.8, 0.16), (0, 0, 0.08))
    elbow = (s.vary(-0.5, -0.25), 0.0, s.vary(0.75, 0.95))
    head = (s.vary(0.25, 0.5), 0.0, elbow[2] + s.vary(0.3, 0.5))
    s.bar("limb", (0, 0, 0.1), elbow, 0.06)
    s.bar("limb", elbow, head, 0.055)
    s.ball("grip", (0.15, 0.15, 0.15), elbow, sides=8)
    tilt, size = s.vary(0.15, 0.35), s.vary(0.3, 0.4)
    s.bar("top", (head[0] + tilt, 0, head[2] - 0.35), (head[0], 0, head[2] + 0.1), size, 0.12, sides=12)
    s.box("front", (0.22, foot * 1.3, 0.3), (foot * 0.85, 0, 0.15), taper=(0.5, 0.9))
    tall = s.vary(0.35, 0.5)
    s.lathe("side", [(0.17, 0), (0.2, tall), (0.15, tall), (0.13, 0.1)], (-0.05, foot * 0.8, 0.05), sides=10)


def floor_lamp(s: Sketch) -> None:
    """A pole with a wide shade, a table board at the left and a reading light in front."""
    foot, height, shade = s.vary(0.32, 0.45), s.vary(1.3, 1.6), s.vary(0.4, 0.55)
    s.lathe("body", [(foot, 0), (foot, 0.1), (0.12, s.vary(0.2, 0.35))])
    s.bar("limb", (0, 0, 0.1), (0, 0, height + 0.2), 0.06)
    _shade(s, shade, shade * s.vary(0.5, 0.9), s.vary(0.35, 0.5), (0, 0, height))
    s.lathe("top", [(0.3, 0), (0.3, 0.05)], (0, 0, height + 0.2), sides=8)
    board = height * s.vary(0.38, 0.5)
    s.box("side", (0.5, s.vary(0.4, 0.5), 0.1), (0, 0.25, board))
    light = height * s.vary(0.6, 0.72)
    s.bar("grip", (0, 0, light - 0.1), (0.35, 0, light), 0.06)
    s.bar("front", (0.55, 0, light - 0.2), (0.3, 0, light + 0.08), 0.2, 0.1)
    s.ball("grip", (0.1, 0.1, 0.12), (0, 0, height + 0.55), sides=8)


def lantern(s: Sketch) -> None:
    """A glass body between corner posts under a roof, with a ring on top, a door in front, a vent at the left."""
    radius, height = s.vary(0.36, 0.48), s.vary(0.7, 1.0)
    s.box("limb", (radius * 2.3, radius * 2.3, 0.16), (0, 0, 0.08))
    s.lathe(
        "body", [(radius * 0.85, 0.1), (radius * s.vary(0.85, 1.0), 0.1 + height / 2), (radius * 0.8, 0.1 + height)]
    )
    for sx in (-1, 1):
        for sy in (-1, 1):
            s.bar("limb", (sx * radius, sy * radius, 0.1), (sx * radius, sy * radius, 0.1 + height), 0.06, sides=4)
    roof = s.vary(0.25, 0.45)
    s.box("top", (radius * 2.4, radius * 2.4, roof), (0, 0, 0.1 + height + roof / 2), taper=(0.3, 0.3))
    ring = s.vary(0.2, 0.3)
    s.arch("grip", (0, 0, 0.1 + height + roof + ring * 0.8), (ring, ring), 0.06, axis="y")
    s.box("front", (0.14, radius * 1.3, height * 0.65), (radius, 0, 0.1 + height * 0.45))
    s.bar("side", (0, radius * 0.7, height * 0.7), (0, radius + s.vary(0.25, 0.35), height * 0.7), 0.16, 0.22)
