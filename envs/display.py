"""Frames that show what the agent sees, made by pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

_BACKGROUND: Colour = (17, 19, 24)
_PANEL: Colour = (30, 33, 41)
_DARK: Colour = (12, 13, 17)
_TEXT: Colour = (234, 236, 240)
_MUTED: Colour = (142, 149, 162)
_PATH: Colour = (255, 200, 64)
_AXES: tuple[Colour, ...] = ((242, 92, 92), (104, 206, 120), (96, 156, 255))
_MIN_HEIGHT = 96
_STRIP = 4  # views in the history strip
_SUBPIXEL = 4  # fractional bits of the coordinates given to cv2


def saccade_frame(
    image: Image,
    positions: ArrayLike,
    glimpse: Image,
    *,
    fovea_size: float,
    priority: ArrayLike | None = None,
    label: str | None = None,
    height: int = 384,
) -> Image:
    """Draw a saccade episode: the scene with its scanpath and fovea, the glimpse, and the priority map if there is one.

    Args:
        image: (S, S, C) uint8 scene, its channels shown as those of the glimpse.
        positions: (T, 2) scanpath so far, T >= 1, the current fixation last; (x, y) in image units: [-1, 1], +x right,
            +y down, 0 the centre. Position p is the continuous pixel coordinate (p + 1) / 2 * S; pixel i covers
            [i, i + 1).
        glimpse: (h, w, C) uint8 glimpse at the current fixation. The first three channels are shown as RGB; with
            fewer than three, the first as grey.
        fovea_size: side of the fovea in pixels of `image`.
        priority: (P, P) map over the whole scene, any scale, higher is more likely to be fixated; its range is
            stretched to the colours, and -inf counts as its lowest value. None draws no such panel.
        label: one line under the panels, shortened where it does not fit.
        height: of the frame, in pixels, at least 96. The width follows from it and from the number of panels.

    Returns:
        (height, W, 3) uint8 RGB, a new array.

    Raises:
        ValueError: if a shape, a dtype or a size is not as above.
    """
    image, glimpse = _as_rgb("image", image), _as_rgb("glimpse", glimpse)
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"expected image of shape (S, S, C), got {image.shape}.")
    side = _panel_side(height)
    path = np.asarray(positions, dtype=np.float64)
    if path.ndim != 2 or path.shape[1] != 2 or len(path) == 0 or not np.isfinite(path).all():
        raise ValueError(
            f"expected finite positions of shape (T, 2) with T >= 1, got shape {path.shape}; pass the scanpath."
        )
    if not fovea_size > 0:
        raise ValueError(f"expected a fovea_size above 0 image pixels, got {fovea_size}.")
    centres = (path + 1) / 2 * side  # (T, 2) continuous panel coordinates
    box = fovea_size / image.shape[0] * side

    plain = _fit(image, side)
    scene = plain.copy()
    _draw_scanpath(scene, centres, box)
    h, w = glimpse.shape[:2]
    panels = [("Scene", scene), (f"Glimpse  {w} x {h}", _fit(glimpse, side))]
    if priority is not None:
        heat = _heat(plain, np.asarray(priority, dtype=np.float64))
        _stroke_box(heat, centres[-1], box)
        panels.append(("Priority", heat))
    x, y = path[-1]
    return _compose(panels, label, f"fixation {len(path)}  at  ({x:+.2f}, {y:+.2f})", height)


def rotation_frame(
    view: Image,
    history: Image,
    orientation: ArrayLike,
    *,
    camera_theta: float = math.pi / 4,
    label: str | None = None,
    height: int = 384,
) -> Image:
    """Draw an object-rotation episode: the view, the views before it, and the object's axes as the camera sees them.

    Args:
        view: (h, w, 3) uint8 RGB, the current view.
        history: (T, h, w, 3) uint8 RGB, the views before `view`, oldest first; T may be 0. The last four are shown.
        orientation: (4,) quaternion xyzw that takes the object's frame to the world's.
        camera_theta: polar angle of the camera from +z in radians, at azimuth 0 (see `axes_in_view`).
        label: one line under the panels, shortened where it does not fit.
        height: of the frame, in pixels, at least 96. The width follows from it.

    Returns:
        (height, W, 3) uint8 RGB, a new array.

    Raises:
        ValueError: if a shape, a dtype or a size is not as above.
    """
    _check_image("view", view)
    if history.ndim != 4 or history.shape[-1] != 3 or history.dtype != np.uint8:
        raise ValueError(
            f"expected history of shape (T, h, w, 3) and dtype uint8, got {history.shape} {history.dtype}; "
            "with no earlier view pass np.empty((0, h, w, 3), np.uint8)."
        )
    side = _panel_side(height)
    axes = axes_in_view(orientation, camera_theta)
    w = np.clip(abs(float(np.asarray(orientation)[3])) / float(np.linalg.norm(orientation)), 0, 1)
    panels = [
        ("View", _fit(view, side)),
        ("Before", _strip(history[-_STRIP:], side)),
        ("Orientation", _axes_panel(axes, camera_theta, side)),
    ]
    return _compose(panels, label, f"{math.degrees(2 * math.acos(w)):.0f} deg from identity", height)


def axes_in_view(orientation: ArrayLike, camera_theta: float = math.pi / 4) -> NDArray[np.float64]:
    """Return the object's body axes in the camera's frame.

    The camera sits at polar angle `camera_theta` from +z and azimuth 0, and looks at the origin with +z up: image right
    is world +y, and +x comes towards the viewer. The projection is orthographic.

    Args:
        orientation: (4,) quaternion xyzw, of any norm but 0, that takes the object's frame to the world's.
        camera_theta: radians.

    Returns:
        (3, 3) float64: rows are the body's x, y and z axis; columns are right, down and towards the camera.

    Raises:
        ValueError: if `orientation` is no quaternion.
    """
    from scipy.spatial.transform import Rotation

    quaternion = np.asarray(orientation, dtype=np.float64)
    if quaternion.shape != (4,) or not 0 < np.linalg.norm(quaternion) < np.inf:
        raise ValueError(f"expected a quaternion xyzw of shape (4,) that is not zero, got {orientation!r}.")
    sin, cos = math.sin(camera_theta), math.cos(camera_theta)
    camera = np.array([[0.0, 1.0, 0.0], [cos, 0.0, -sin], [sin, 0.0, cos]])  # rows: right, down, towards the camera
    return (camera @ Rotation.from_quat(quaternion).as_matrix()).T


def _check_image(name: str, image: Image) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"expected {name} of shape (H, W, 3) and dtype uint8, got {image.shape} {image.dtype}.")


def _as_rgb(name: str, image: Image) -> Image:
    if image.ndim != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"expected {name} of shape (h, w, C) and dtype uint8, got {image.shape} {image.dtype}.")
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


def _margin(height: int) -> int:
    return max(4, round(height / 24))


def _panel_side(height: int) -> int:
    if height < _MIN_HEIGHT:
        raise ValueError(f"expected a frame height of at least {_MIN_HEIGHT} pixels, got {height}.")
    return height - 2 * _band(height)


def _band(height: int) -> int:
    """Height of the title line above the panels, and of the label line under them, in pixels."""
    return round(height * 0.094)


def _compose(panels: Sequence[tuple[str, Image]], label: str | None, note: str, height: int) -> Image:
    """Place panels in a row, titles above, `label` under them at the left and `note` at the right."""
    margin, band = _margin(height), _band(height)
    width = sum(panel.shape[1] + margin for _, panel in panels) + margin
    frame = np.full((height, width, 3), _BACKGROUND, dtype=np.uint8)
    letters = 0.026 * height
    left = margin
    for title, panel in panels:
        frame[band : band + panel.shape[0], left : left + panel.shape[1]] = panel
        _text(frame, _shorten(title, letters, panel.shape[1]), (left, band / 2), letters, _MUTED)
        left += panel.shape[1] + margin
    base = height - band / 2
    used = _text(frame, note, (width - margin, base), letters, _MUTED, align=1.0)
    if label:
        room = width - 3 * margin - used
        _text(frame, _shorten(" ".join(label.split()), letters, room), (margin, base), letters, _TEXT)
    return frame


def _font(letters: float) -> tuple[int, float]:
    import cv2

    return cv2.FONT_HERSHEY_SIMPLEX, letters / 22  # capitals are about 22 pixels high at scale 1


def _text_width(text: str, letters: float) -> int:
    import cv2

    return cv2.getTextSize(text, *_font(letters), 1)[0][0]


def _shorten(text: str, letters: float, room: float) -> str:
    if _text_width(text, letters) <= room:
        return text
    while text and _text_width(text + "...", letters) > room:
        text = text[:-1]
    return text.rstrip() + "..." if text else ""


def _text(
    canvas: Image, text: str, at: tuple[float, float], letters: float, colour: int | Colour, align: float = 0.0
) -> int:
    """Write with capitals `letters` pixels high, their middle at height at[1], and return the width in pixels.

    `align` is the part of the text to the left of at[0]: 0 starts there, 0.5 is centred, 1 ends there.
    """
    import cv2

    width = _text_width(text, letters)
    corner = (round(at[0] - align * width), round(at[1] + letters / 2))
    cv2.putText(canvas, text, corner, *_font(letters), colour, 1, cv2.LINE_AA)
    return width


def _fit(image: Image, side: int) -> Image:
    """Enlarge or shrink an image to fit the middle of a (side, side, 3) panel, with crisp pixels of equal size."""
    import cv2

    h, w = image.shape[:2]
    scale = side / max(h, w)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    # Whole-number enlargement and then area averaging: every source pixel keeps its exact share of the panel.
    times = math.ceil(scale)
    large = image.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else image
    fitted = cv2.resize(np.ascontiguousarray(large), size, interpolation=cv2.INTER_AREA)
    if size == (side, side):
        return np.asarray(fitted, dtype=np.uint8)
    panel = np.full((side, side, 3), _PANEL, dtype=np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    panel[top : top + size[1], left : left + size[0]] = fitted
    return panel


def _blend(canvas: Image, mask: Image, colour: Colour) -> None:
    """Paint `colour` on the canvas, in place, with opacity mask / 255."""
    rows, columns = np.nonzero(mask)
    opacity = mask[rows, columns, None] / np.float32(255)
    canvas[rows, columns] = np.rint(canvas[rows, columns] * (1 - opacity) + np.array(colour, np.float32) * opacity)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    """Turn continuous coordinates (pixel i covers [i, i + 1)) into cv2's (i is the middle of pixel i), fixed point."""
    x, y = np.rint((point - 0.5) * (1 << _SUBPIXEL)).astype(int)
    return int(x), int(y)


def _stroke_box(panel: Image, centre: NDArray[np.float64], box: float) -> None:
    """Outline a box of side `box` panel pixels, light on a dark edge, so that it shows on any image."""
    import cv2

    thin = max(1, round(panel.shape[0] / 160))
    first, last = _pixel(centre - box / 2), _pixel(centre + box / 2)
    for thickness, colour, opacity in ((thin + 2, _DARK, 170), (thin, _TEXT, 255)):
        mask = np.zeros(panel.shape[:2], dtype=np.uint8)
        cv2.rectangle(mask, first, last, opacity, thickness, cv2.LINE_AA, _SUBPIXEL)
        _blend(panel, mask, colour)


def _draw_scanpath(panel: Image, centres: NDArray[np.float64], box: float) -> None:
    """Draw the way from fixation to fixation, older ones paler, and the fovea's box around the last, in place."""
    import cv2

    radius = float(np.clip(0.14 * box, 2.0, panel.shape[0] * 0.027))
    numbered = radius >= 6.0
    thin = max(1, round(panel.shape[0] / 160))
    edge, fill, ink = (np.zeros(panel.shape[:2], dtype=np.uint8) for _ in range(3))
    opacities = np.maximum(1 - 0.09 * np.arange(len(centres))[::-1], 0.4)
    dots = [_pixel(centre) for centre in centres]
    for start, end, opacity in zip(dots[:-1], dots[1:], opacities[1:], strict=True):
        cv2.line(edge, start, end, 170 * opacity, thin + 2, cv2.LINE_AA, _SUBPIXEL)
        cv2.line(fill, start, end, 255 * opacity, thin, cv2.LINE_AA, _SUBPIXEL)
    ring = 1 << _SUBPIXEL
    for number, (dot, centre, opacity) in enumerate(zip(dots, centres, opacities, strict=True), start=1):
        whole = round(radius * ring)
        cv2.circle(edge, dot, whole + ring, 200 * opacity, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL)
        cv2.circle(fill, dot, whole, 255 * opacity, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL)
        cv2.circle(ink, dot, whole + ring, 0, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL)  # hides the number of a dot beneath
        if numbered:
            letters = radius * (1.1, 0.9, 0.65)[min(len(str(number)), 3) - 1]
            _text(ink, str(number), (centre[0], centre[1]), letters, round(255 * opacity), align=0.5)
    for mask, colour in ((edge, _DARK), (fill, _PATH), (ink, _DARK)):
        _blend(panel, mask, colour)
    _stroke_box(panel, centres[-1], box)


def _heat(scene: Image, priority: NDArray[np.float64]) -> Image:
    """Lay a priority map (P, P) over a dimmed copy of the scene's panel: heat colours, opaque where it is high."""
    import cv2

    if priority.ndim != 2 or priority.shape[0] != priority.shape[1] or priority.size == 0:
        raise ValueError(f"expected priority of shape (P, P), got {priority.shape}; pass one map over the whole scene.")
    if np.isnan(priority).any() or np.isposinf(priority).any():
        raise ValueError("expected priority without NaN and +inf; -inf alone may mark places never to be fixated.")
    low = np.min(priority, initial=np.inf, where=np.isfinite(priority))
    finite = np.maximum(priority, low) if np.isfinite(low) else np.zeros_like(priority)
    span = finite.max() - finite.min()
    level = (finite - finite.min()) / (span if span > 0 else 1.0)
    level = cv2.resize(level.astype(np.float32), scene.shape[:2], interpolation=cv2.INTER_LINEAR)
    heat = cv2.applyColorMap(np.rint(level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(scene, cv2.COLOR_RGB2GRAY)[..., None] * np.float32(0.45)
    opacity = 0.9 * np.sqrt(level)[..., None]
    return np.rint(grey * (1 - opacity) + heat * opacity).astype(np.uint8)


def _strip(views: Image, side: int) -> Image:
    """Stack up to four views, the newest on top; places without a view stay empty."""
    gap = max(2, side // 40)
    cell = (side - (_STRIP - 1) * gap) // _STRIP
    strip = np.full((side, cell, 3), _BACKGROUND, dtype=np.uint8)
    for place in range(_STRIP):
        top = round(place * (side - cell) / (_STRIP - 1))
        shown = _fit(views[-1 - place], cell) if place < len(views) else np.full((cell, cell, 3), _PANEL, np.uint8)
        strip[top : top + cell] = shown
    return strip


def _axes_panel(axes: NDArray[np.float64], camera_theta: float, side: int) -> Image:
    """Draw body axes (3, 3), as `axes_in_view` gives them, in a globe whose faint ring is the world's horizon plane."""
    import cv2

    panel = np.full((side, side, 3), _PANEL, dtype=np.uint8)
    middle = np.full(2, side / 2)
    reach = 0.36 * side
    fine = 1 << _SUBPIXEL
    faint = tuple(round(0.72 * a + 0.28 * b) for a, b in zip(_PANEL, _MUTED, strict=True))
    for flat in (1.0, abs(math.cos(camera_theta))):
        radii = (round(reach * fine), round(reach * flat * fine))
        cv2.ellipse(panel, _pixel(middle), radii, 0, 0, 360, faint, 1, cv2.LINE_AA, _SUBPIXEL)
    ends = [(sign * axes[i], i, sign) for i in range(3) for sign in (-1.0, 1.0)]
    for (right, down, near), i, sign in sorted(ends, key=lambda end: end[0][2]):  # near ones over far ones
        strength = (0.72 + 0.28 * near) * (1.0 if sign > 0 else 0.4)
        colour = tuple(round(strength * a + (1 - strength) * b) for a, b in zip(_AXES[i], _PANEL, strict=True))
        end = middle + reach * np.array([right, down])
        thickness = max(1, round(side / (80 if sign > 0 else 240)))
        cv2.line(panel, _pixel(middle), _pixel(end), colour, thickness, cv2.LINE_AA, _SUBPIXEL)
        if sign > 0:
            ball = side * 0.05 * (1 + 0.2 * near)
            cv2.circle(panel, _pixel(end), round(ball * fine), colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL)
            _text(panel, "XYZ"[i], (end[0], end[1]), 0.85 * ball, _DARK, align=0.5)
    return panel


def with_panel(frame: Image, title: str, content: Image | str) -> Image:
    """Return a frame with one more panel at its right end.

    Args:
        frame: (H, W, 3) uint8 RGB, from `saccade_frame` or `rotation_frame`.
        title: over the panel, shortened where it does not fit.
        content: (h, w, C) uint8 picture (the first three channels are shown as RGB; with fewer than three, the first
            as grey), or a word for the middle of an empty panel.

    Returns:
        (H, W', 3) uint8 RGB, a new array.
    """
    height = frame.shape[0]
    margin, band, side = _margin(height), _band(height), _panel_side(height)
    if isinstance(content, str):
        panel = np.full((side, side, 3), _PANEL, dtype=np.uint8)
        letters = 0.045 * height
        word = _shorten(content, letters, side - 2 * margin)
        _text(panel, word, (side / 2, side / 2), letters, _TEXT, align=0.5)
    else:
        panel = _fit(_as_rgb("content", content), side)
    strip = np.full((height, side + margin, 3), _BACKGROUND, dtype=np.uint8)
    strip[band : band + side, :side] = panel
    letters = 0.026 * height
    _text(strip, _shorten(title, letters, side), (0, band / 2), letters, _MUTED)
    return np.concatenate([frame, strip], axis=1)


def grid(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Tile frames of one shape (H, W, 3) into one picture, two columns where there is more than one frame."""
    if len(frames) == 1:
        return frames[0]
    blank = np.zeros_like(frames[0])
    rows = [np.concatenate([*frames[i : i + 2], blank][:2], axis=1) for i in range(0, len(frames), 2)]
    return np.concatenate(rows)
