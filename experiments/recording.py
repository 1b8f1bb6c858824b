"""Recordings of an episode: a film (mp4, gif) or a sheet of stills (png), written as the frames come."""

from __future__ import annotations

import math
import os
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..world_model.checkpoint import check_writable

Image = NDArray[np.uint8]

_STILLS = 12  # at most so many on a contact sheet

_MP4: dict[str, Any] = {
    "codec": "libx264",
    "pix_fmt_out": "yuv420p",
    "quality": 8,
    "macro_block_size": 2,
    "output_params": ["-movflags", "+faststart"],
}
# One palette a frame keeps ffmpeg streaming; a common one would hold all frames in memory first.
_PALETTES = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none"
_GIF: dict[str, Any] = {
    "codec": "gif",
    "pix_fmt_out": "pal8",
    "quality": None,
    "macro_block_size": 1,
    "output_params": ["-filter_complex", _PALETTES, "-loop", "0"],
}


class Recorder:
    """Write frames to a film or to a contact sheet; the file appears, whole, when the block ends without an error.

    >>> with Recorder("episode.mp4", fps=8) as recorder:
    ...     recorder.add(env.render())

    Until then the frames are in a hidden file beside it, which an error or an interrupt removes. Films are encoded as
    the frames come, so that memory does not grow with their number.

    Args:
        path: where to write; the suffix chooses the format: ``.mp4`` (H.264, odd sizes padded to even ones by
            repeating the edge), ``.gif`` (loops for ever, a palette for each frame) or ``.png`` (a sheet of at most 12
            frames at even distances, the first and the last among them). Missing folders are created.
        fps: frames per second, above 0; a sheet ignores it. GIF counts time in 1/100 s, and viewers slow down above 50.

    Raises:
        ValueError: if the suffix is another one, or `fps` is not above 0.
        CheckpointError: on entering the block, if the file cannot be written there.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float) -> None:
        self._path = Path(path)
        self._suffix = self._path.suffix.lower()
        if self._suffix not in (".mp4", ".gif", ".png"):
            raise ValueError(f"expected a file name that ends in .mp4, .gif or .png, got {str(path)!r}; rename it.")
        if not 0 < fps < math.inf:
            raise ValueError(f"expected fps above 0, got {fps}.")
        self._fps = fps
        # The suffix stays last, since ffmpeg reads the container from it.
        self._partial = self._path.with_name(f".{self._path.stem}.{os.getpid()}.partial{self._suffix}")
        self._shape: tuple[int, ...] | None = None
        self._writer: _Film | _Sheet | None = None
        self._open = False

    def __enter__(self) -> Recorder:
        check_writable(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._shape, self._writer, self._open = None, None, True
        return self

    def add(self, frame: Image) -> None:
        """Append a frame.

        Args:
            frame: (H, W, 3) uint8 RGB, of one size throughout a recording. It is copied.

        Raises:
            ValueError: if `frame` is no RGB image, or not of the first one's size.
            RuntimeError: outside the recorder's ``with`` block.
        """
        if not self._open:
            raise RuntimeError("expected an open recording; add frames inside `with Recorder(path, fps) as recorder:`.")
        frame = np.asarray(frame)
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0 or frame.dtype != np.uint8:
            raise ValueError(f"expected a frame of shape (H, W, 3) and dtype uint8, got {frame.shape} {frame.dtype}.")
        if self._writer is None:
            self._shape = frame.shape
            sheet = self._suffix == ".png"
            self._writer = _Sheet(self._partial) if sheet else _Film(self._partial, frame.shape, self._fps)
        if frame.shape != self._shape:
            raise ValueError(f"expected every frame of the first one's shape {self._shape}, got {frame.shape}.")
        self._writer.add(frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        try:
            if self._writer is not None:
                self._writer.close(finish=kind is None)
            if kind is None:
                self._publish()
        finally:
            self._partial.unlink(missing_ok=True)

    def _publish(self) -> None:
        if self._writer is None:
            raise ValueError(f"expected at least one frame for {self._path}, got none; call add(frame) in the block.")
        if not self._partial.is_file() or self._partial.stat().st_size == 0:
            raise OSError(f"the encoder wrote nothing for {self._path}; its message is above. Is the disk full?")
        os.replace(self._partial, self._path)


class _Film:
    """A film that ffmpeg encodes as the frames come."""

    def __init__(self, path: Path, shape: tuple[int, ...], fps: float) -> None:
        from imageio_ffmpeg import write_frames

        gif = path.suffix == ".gif"
        height, width, _ = shape
        # H.264 in the pixel format every player knows halves the colours' resolution, so sizes must be even.
        self._padding = ((0, 0), (0, 0), (0, 0)) if gif else ((0, height % 2), (0, width % 2), (0, 0))
        size = (width, height) if gif else (width + width % 2, height + height % 2)
        settings = {**(_GIF if gif else _MP4), "fps": float(fps)}
        self._ffmpeg: Generator[None, Image | None, None] = write_frames(
            path, size, ffmpeg_log_level="error", **settings
        )
        self._ffmpeg.send(None)

    def add(self, frame: Image) -> None:
        self._ffmpeg.send(np.ascontiguousarray(np.pad(frame, self._padding, mode="edge")))

    def close(self, *, finish: bool) -> None:
        # An unfinished film goes the same way: ffmpeg has to end before its file can be removed on every system.
        self._ffmpeg.close()


class _Sheet:
    """A contact sheet of frames at even distances, out of a stream of unknown length."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: list[Image] = []
        self._stride = 1
        self._count = 0
        self._last: Image | None = None

    def add(self, frame: Image) -> None:
        self._last = still = frame.copy()
        if self._count % self._stride == 0:
            self._kept.append(still)
            if len(self._kept) == 4 * _STILLS:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._count += 1

    def close(self, *, finish: bool) -> None:
        if finish:
            import cv2

            _, png = cv2.imencode(".png", _tile(self._stills())[..., ::-1])
            self._path.write_bytes(png.tobytes())

    def _stills(self) -> list[Image]:
        assert self._last is not None
        end = self._count - 1
        places = np.unique(np.rint(np.linspace(0, end, _STILLS)).astype(int)) if end >= _STILLS else np.arange(end + 1)
        nearest = [min(round(place / self._stride), len(self._kept) - 1) for place in places[:-1]]
        return [*(self._kept[i] for i in nearest), self._last]


def _tile(frames: list[Image]) -> Image:
    """Place frames in rows, in reading order, on a sheet about one and a half times as wide as high."""
    height, width, _ = frames[0].shape
    gap = max(2, height // 48)
    columns = min(
        range(1, len(frames) + 1),
        key=lambda n: abs(math.log(n * width / (math.ceil(len(frames) / n) * height) / 1.5)),
    )
    rows = math.ceil(len(frames) / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 20, dtype=np.uint8)
    for i, frame in enumerate(frames):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet
