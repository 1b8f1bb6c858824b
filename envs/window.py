"""A window for people to watch frames in; a machine without a display opens none and needs no settings."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np


class Window:
    """A pygame window that shows frames; where there is no display it runs on SDL's dummy driver and opens nothing.

    pygame has one display for a process, so only one window can be open at a time.

    Args:
        title: the window's caption.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._size: tuple[int, int] | None = None  # (width, height) in pixels; None while no window is open
        self._clock: Any = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """True once the user has closed the window; it then stays closed."""
        return self._closed

    def show(self, frame: np.ndarray, fps: float) -> None:
        """Show `frame` and wait until 1 / `fps` seconds have passed since the last one.

        The first frame opens the window, and a frame of another size resizes it. After the user has closed the window
        this does nothing.

        Args:
            frame: (H, W, 3) uint8 RGB.
            fps: frames per second, above 0.

        Raises:
            ValueError: if `frame` is no RGB image or `fps` is not above 0.
            RuntimeError: if the system's display cannot be opened.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
            raise ValueError(f"expected frame of shape (H, W, 3) and dtype uint8, got {frame.shape} {frame.dtype}.")
        if not fps > 0:
            raise ValueError(f"expected fps above 0, got {fps}.")
        if self._closed:
            return
        pygame = _import_pygame()
        self._read_events(pygame)
        if self._closed:
            return
        size = (frame.shape[1], frame.shape[0])
        if self._size != size:
            self._open(pygame, size)
        surface = pygame.image.frombuffer(np.ascontiguousarray(frame).tobytes(), size, "RGB")
        pygame.display.get_surface().blit(surface, (0, 0))
        pygame.display.flip()
        self._read_events(pygame)
        if not self._closed:
            self._clock.tick(fps)

    def close(self) -> None:
        """Close the window, if it is open. The next `show` opens it again."""
        if self._size is not None:
            _import_pygame().display.quit()
            self._size = None

    def _open(self, pygame: Any, size: tuple[int, int]) -> None:
        if not pygame.display.get_init():
            with _environment(SDL_VIDEODRIVER="dummy") if _headless() else _environment():
                try:
                    pygame.display.init()
                except pygame.error as error:
                    raise RuntimeError(
                        f"cannot open the display: {error}. Use render_mode='rgb_array', or unset "
                        "DISPLAY and WAYLAND_DISPLAY to run without a display."
                    ) from error
        pygame.display.set_mode(size)
        pygame.display.set_caption(self._title)
        self._clock = pygame.time.Clock()
        self._size = size

    def _read_events(self, pygame: Any) -> None:
        # Every event is taken, also those nobody asked for: a full queue would drop the one that closes the window.
        if self._size is None:
            return
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self._closed = True
        if self._closed:
            self.close()


def _headless() -> bool:
    chosen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("SDL_VIDEODRIVER")
    return sys.platform.startswith("linux") and not chosen


@cache
def _import_pygame() -> Any:
    with _environment(PYGAME_HIDE_SUPPORT_PROMPT="1"), warnings.catch_warnings():
        # pygame 2.6 reads its version through setuptools' pkg_resources, which warns about itself.
        warnings.filterwarnings("ignore", message=".*pkg_resources")
        import pygame
    return pygame


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for the time of the block only."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
