import math
import os
import subprocess
import sys

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from glimpseworld.envs.display import axes_in_view, rotation_frame, saccade_frame, with_panel
from glimpseworld.envs.window import Window
from glimpseworld.experiments.recording import Recorder
from glimpseworld.world_model.checkpoint import CheckpointError

MAGENTA = (255, 0, 255)
PATH = (255, 200, 64)
BOX = (234, 236, 240)
SIZE = 78  # at the default height a panel is 312 pixels wide: four for each image pixel
HALF = math.sqrt(0.5)


def scene(block_x=None, block_y=None):
    """A black scene with a magenta block of 2 x 2 pixels whose middle is at the continuous pixel (block_x, block_y)."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    if block_x is not None:
        image[block_y - 1 : block_y + 1, block_x - 1 : block_x + 1] = MAGENTA
    return image


def grey(h=16, w=16, c=3):
    return np.full((h, w, c), 90, np.uint8)


def extent(frame, colour):
    """(x0, x1, y0, y1) of the pixels of exactly this colour, ends exclusive."""
    rows, columns = np.nonzero((frame == colour).all(-1))
    return columns.min(), columns.max() + 1, rows.min(), rows.max() + 1


def middle(box):
    return (box[0] + box[1]) / 2, (box[2] + box[3]) / 2


def draw(image=None, positions=((0.0, 0.0),), glimpse=None, fovea_size=20, **kwargs):
    image = scene() if image is None else image
    return saccade_frame(image, positions, grey() if glimpse is None else glimpse, fovea_size=fovea_size, **kwargs)


def position(x, y):
    return 2 * x / SIZE - 1, 2 * y / SIZE - 1


# --- saccades ---------------------------------------------------------------------------------------------------------


def test_a_scene_pixel_is_four_panel_pixels_wide():
    frame = draw(scene(20, 60), [position(60, 20)], fovea_size=4)
    x0, x1, y0, y1 = extent(frame, MAGENTA)
    assert (x1 - x0, y1 - y0) == (8, 8)


@pytest.mark.parametrize(("x", "y"), [(20, 60), (60, 20), (39, 39), (25, 30)])
def test_the_dot_and_the_fovea_box_are_on_the_fixated_block(x, y):
    target = middle(extent(draw(scene(x, y), [position(70, 70)], fovea_size=2), MAGENTA))
    frame = draw(scene(x, y), [position(x, y)], fovea_size=20)[:, :336]
    assert middle(extent(frame, PATH)) == pytest.approx(target, abs=1)
    box = extent(frame, BOX)
    assert middle(box) == pytest.approx(target, abs=1)
    assert (box[1] - box[0], box[3] - box[2]) == (pytest.approx(80, abs=3), pytest.approx(80, abs=3))


def test_positive_x_is_right_and_positive_y_is_down():
    centre = middle(extent(draw(positions=[(0, 0)]), BOX))
    right = middle(extent(draw(positions=[(0.5, 0)]), BOX))
    down = middle(extent(draw(positions=[(0, 0.5)]), BOX))
    assert (right[0] - centre[0], right[1] - centre[1]) == pytest.approx((78, 0), abs=1)
    assert (down[0] - centre[0], down[1] - centre[1]) == pytest.approx((0, 78), abs=1)


def test_the_line_joins_the_fixations_in_order():
    path = [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8)]
    frame = draw(positions=path)
    left, top, side = 16, 36, 312
    yellow = (frame[..., 0].astype(int) - frame[..., 2] > 60)[top : top + side, left : left + side]
    at = [round((p + 1) / 2 * side) for p in (-0.8, 0.0, 0.8)]
    assert yellow[at[0] - 3 : at[0] + 3, at[1]].any()  # first to second, along the top
    assert yellow[at[1], at[2] - 3 : at[2] + 3].any()  # second to third, down the right
    assert not yellow[at[1] - 20 : at[1] + 20, at[1] - 20 : at[1] + 20].any()  # never first to third


def test_the_frame_keeps_its_size_through_an_episode():
    walk = np.random.default_rng(0).uniform(-1, 1, (40, 2))
    frames = [draw(positions=walk[:t], label=None if t % 2 else "word " * t) for t in (1, 2, 9, 10, 40)]
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((384, 672, 3), "uint8")}


@pytest.mark.parametrize("height", [96, 240, 720])
def test_the_height_is_as_asked(height):
    assert draw(height=height).shape[0] == height
    assert rotation_frame(grey(), np.empty((0, 16, 16, 3), np.uint8), [0, 0, 0, 1], height=height).shape[0] == height


def test_the_priority_panel_is_hot_where_priority_is_high():
    priority = np.full((12, 12), -np.inf)
    priority[:6, :] = 1.0
    priority[2, 9] = 5.0  # upper right
    without, with_map = draw(positions=[(-0.9, 0.9)]), draw(positions=[(-0.9, 0.9)], priority=priority)
    assert with_map.shape[1] - without.shape[1] == 312 + 16
    np.testing.assert_array_equal(with_map[:348, : without.shape[1]], without[:348])
    colours = with_map[36:-36, 672 : 672 + 312].astype(int)
    panel = colours.sum(-1)
    y, x = np.unravel_index(panel[:, 60:].argmax(), panel[:, 60:].shape)  # 60: right of the fovea's box
    assert (x + 60, y) == pytest.approx((9.5 * 26, 2.5 * 26), abs=26)
    assert colours[65, 247, 0] > colours[65, 247, 2] + 40  # red over blue: hot


def test_a_flat_priority_map_is_drawn_cold():
    frames = [draw(priority=np.full((4, 4), value)) for value in (0.0, 7.0, -np.inf)]
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[0], frames[2])


def test_the_glimpse_shows_its_first_three_channels_or_grey():
    colours = np.zeros((8, 8, 5), np.uint8)
    colours[..., :3], colours[..., 3:] = (10, 200, 30), 255
    assert tuple(draw(glimpse=colours)[200, 500]) == (10, 200, 30)
    assert tuple(draw(glimpse=grey(8, 8, 1))[200, 500]) == (90, 90, 90)


def test_a_grey_scene_is_drawn_grey():
    """As of an array file of grey images; the rest of the frame is that of the same scene in RGB."""
    scene = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    np.testing.assert_array_equal(draw(scene), draw(np.repeat(scene, 3, axis=2)))


def test_the_glimpse_is_upright():
    glimpse = np.zeros((8, 8, 3), np.uint8)
    glimpse[1, 6] = MAGENTA
    x, y = middle(extent(draw(glimpse=glimpse), MAGENTA))
    assert (x, y) == pytest.approx((344 + 6.5 * 39, 36 + 1.5 * 39), abs=1)


def test_frames_leave_their_inputs_alone():
    rng = np.random.default_rng(1)
    image, glimpse = rng.integers(0, 256, (96, 96, 3), np.uint8), rng.integers(0, 256, (32, 32, 3), np.uint8)
    positions, priority = rng.uniform(-1, 1, (5, 2)), rng.random((24, 24))
    history, orientation = rng.integers(0, 256, (6, 32, 32, 3), np.uint8), rng.normal(size=4)
    inputs = (image, glimpse, positions, priority, history, orientation)
    before = [array.copy() for array in inputs]
    for array in inputs:
        array.flags.writeable = False
    first = saccade_frame(image, positions, glimpse, fovea_size=32, priority=priority)
    rotation_frame(glimpse, history, orientation)
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    # A scene that already has the panel's size must not be drawn on either.
    exact = np.zeros((312, 312, 3), np.uint8)
    draw(exact, priority=priority)
    assert not exact.any()
    again = saccade_frame(image, positions, glimpse, fovea_size=32, priority=priority)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": np.zeros((8, 9, 3), np.uint8)}, "image of shape"),
        ({"image": np.zeros((8, 8, 3))}, "float64"),
        ({"positions": np.zeros((0, 2))}, "T >= 1"),
        ({"positions": np.zeros((3, 3))}, r"\(T, 2\)"),
        ({"glimpse": np.zeros((8, 8), np.uint8)}, "glimpse of shape"),
        ({"fovea_size": 0}, "fovea_size"),
        ({"priority": np.zeros((4, 5))}, r"\(P, P\)"),
        ({"priority": np.full((4, 4), np.nan)}, "NaN"),
        ({"height": 20}, "at least 96"),
    ],
)
def test_wrong_inputs_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        draw(**wrong)


# --- rotations --------------------------------------------------------------------------------------------------------


def about(axis, degrees):
    return Rotation.from_euler(axis, degrees, degrees=True).as_quat()


@pytest.mark.parametrize(
    ("orientation", "theta", "expected"),
    [
        ([0, 0, 0, 1], math.pi / 4, [[0, HALF, HALF], [1, 0, 0], [0, -HALF, HALF]]),
        ([0, 0, 0, -3], math.pi / 4, [[0, HALF, HALF], [1, 0, 0], [0, -HALF, HALF]]),
        (about("z", 90), math.pi / 4, [[1, 0, 0], [0, -HALF, -HALF], [0, -HALF, HALF]]),
        (about("y", 45), math.pi / 4, [[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
        ([0, 0, 0, 1], 0.0, [[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
        ([0, 0, 0, 1], math.pi / 2, [[0, 0, 1], [1, 0, 0], [0, -1, 0]]),
    ],
)
def test_axes_in_view_worked_out_by_hand(orientation, theta, expected):
    np.testing.assert_allclose(axes_in_view(orientation, theta), expected, atol=1e-12)


def coloured(frame, channel):
    """(x, y) of the middle of the pixels that are mostly of one channel."""
    others = np.delete(frame.astype(int), channel, axis=2).max(2)
    rows, columns = np.nonzero(frame[..., channel].astype(int) - others > 40)
    return columns.mean(), rows.mean()


def test_the_drawn_axes_point_where_they_should():
    empty = np.empty((0, 16, 16, 3), np.uint8)
    rest = rotation_frame(grey(), empty, [0, 0, 0, 1])
    (red_x, red_y), (green_x, green_y), (blue_x, blue_y) = (coloured(rest, channel) for channel in range(3))
    assert red_x == pytest.approx(blue_x, abs=6)  # x comes out of the image and down, z goes up
    assert red_y > green_y + 20 > blue_y + 40
    assert green_x > red_x + 20
    turned = rotation_frame(grey(), empty, about("z", 90))
    assert coloured(turned, 0) == pytest.approx((green_x, green_y), abs=12)


def test_near_axes_cover_far_ones():
    empty = np.empty((0, 16, 16, 3), np.uint8)
    towards = rotation_frame(grey(), empty, about("y", 45))  # z at the viewer, x straight down
    away = rotation_frame(grey(), empty, about("y", 225))
    x, y = 432 + 156, 36 + 156
    assert towards[y + 13, x].argmax() == 2
    assert away[y - 13, x].argmax() == 0  # x straight up, over z's ball


def test_the_strip_shows_the_last_four_views_newest_on_top():
    values = (50, 80, 110, 140, 170, 200)
    history = np.stack([np.full((16, 16, 3), value, np.uint8) for value in values])
    frames = [rotation_frame(grey(), history[:t], [0, 0, 0, 1]) for t in range(len(values) + 1)]
    assert {frame.shape for frame in frames} == {(384, 760, 3)}
    column = [36 + round((i + 0.5) * 312 / 4) for i in range(4)]
    assert frames[6][column, 380, 0].tolist() == [200, 170, 140, 110]
    assert frames[2][column[:2], 380, 0].tolist() == [80, 50]
    empty = frames[2][column[2:], 380]
    assert (empty == frames[0][column[2:], 380]).all()


@pytest.mark.parametrize(
    ("view", "history", "orientation", "message"),
    [
        (grey()[0], np.empty((0, 16, 16, 3), np.uint8), [0, 0, 0, 1], "view of shape"),
        (grey(), grey(), [0, 0, 0, 1], "history of shape"),
        (grey(), np.empty((0, 16, 16, 3), np.uint8), [0, 0, 0, 0], "quaternion"),
        (grey(), np.empty((0, 16, 16, 3), np.uint8), [0, 0, 1], "quaternion"),
    ],
)
def test_wrong_rotation_inputs_are_named(view, history, orientation, message):
    with pytest.raises(ValueError, match=message):
        rotation_frame(view, history, orientation)


# --- the window -------------------------------------------------------------------------------------------------------


@pytest.fixture
def window(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    if not sys.platform.startswith("linux"):
        monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    window = Window("test")
    yield window
    window.close()


def test_a_headless_window_shows_and_leaves_the_environment(window):
    import pygame

    before = dict(os.environ)
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    window.show(frame, fps=500)
    assert dict(os.environ) == before
    assert pygame.display.get_driver() == "dummy"
    surface = pygame.display.get_surface()
    assert surface.get_size() == (60, 40)
    assert tuple(surface.get_at((50, 10)))[:3] == tuple(frame[10, 50])
    window.show(frame[:20], fps=500)
    assert pygame.display.get_surface().get_size() == (60, 20)
    window.close()
    window.close()
    assert not pygame.display.get_init()
    assert not window.closed


def test_a_window_closed_by_the_user_stays_closed(window):
    import pygame

    window.show(grey(), fps=500)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    window.show(grey(), fps=500)
    assert window.closed
    window.show(grey(), fps=500)
    assert not pygame.display.get_init()


def test_a_window_says_what_it_expects(window):
    with pytest.raises(ValueError, match="fps above 0"):
        window.show(grey(), fps=0)
    with pytest.raises(ValueError, match="frame of shape"):
        window.show(grey()[..., 0], fps=5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a display")
def test_a_first_window_says_nothing_and_frames_need_no_pygame():
    code = (
        "import sys, numpy as np\n"
        "from glimpseworld.envs.display import saccade_frame\n"
        "from glimpseworld.envs.window import Window\n"
        "assert not {'cv2', 'pygame'} & set(sys.modules)\n"
        "frame = saccade_frame(np.zeros((9, 9, 3), np.uint8), [[0, 0]], np.zeros((3, 3, 1), np.uint8), fovea_size=3)\n"
        "assert 'pygame' not in sys.modules\n"
        "window = Window('t'); window.show(frame, 100); window.close()\n"
    )
    unset = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "PYGAME_HIDE_SUPPORT_PROMPT")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


# --- recordings -------------------------------------------------------------------------------------------------------


def shade(value, h=33, w=47):
    return np.full((h, w, 3), value, np.uint8)


def record(path, frames, fps=10):
    with Recorder(path, fps) as recorder:
        for frame in frames:
            recorder.add(frame)


def read_mp4(path):
    capture = cv2.VideoCapture(str(path))
    frames, fps = [], capture.get(cv2.CAP_PROP_FPS)
    while True:
        there, frame = capture.read()
        if not there:
            capture.release()
            return np.stack(frames)[..., ::-1], fps
        frames.append(frame)


def test_mp4_round_trip_pads_odd_sizes(tmp_path):
    path = tmp_path / "new" / "deeper" / "episode.mp4"
    frame = np.zeros((33, 47, 3), np.uint8)
    frame[:, 24:] = (220, 40, 40)
    record(path, [frame, frame, shade(200)])
    film, fps = read_mp4(path)
    assert film.shape == (3, 34, 48, 3)
    assert fps == pytest.approx(10)
    assert np.abs(film[0, :33, :47].astype(int) - frame).mean() < 12
    assert np.abs(film[0, 33, 40].astype(int) - frame[32, 40]).max() < 30  # the edge is repeated
    assert film[2].min() > 150  # no row of another frame slipped in
    assert [path.name] == os.listdir(path.parent)


def test_gif_round_trip_keeps_every_frame(tmp_path):
    path = tmp_path / "episode.GIF"
    frames = [shade(10), shade(10), shade(120), shade(250)]
    record(path, frames)
    film = iio.imread(path)
    assert film.shape == (4, 33, 47, 3)
    np.testing.assert_allclose(film.mean((1, 2, 3)), [10, 10, 120, 250], atol=3)
    assert iio.immeta(path)["loop"] == 0
    assert iio.immeta(path)["duration"] == 100
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("count", [1, 5, 12, 13, 30, 150])
def test_a_sheet_shows_at_most_twelve_even_frames_with_both_ends(tmp_path, count):
    path = tmp_path / "sheet.png"
    record(path, [shade(100 + i, 48, 48) for i in range(count)])
    sheet = iio.imread(path)[..., 0]
    shown = [int(value) for value in np.unique(sheet) if value >= 100]
    assert len(shown) == min(count, 12)
    assert (shown[0], shown[-1]) == (100, 99 + count)
    gaps = np.diff(shown)
    assert count == 1 or gaps.max() - gaps.min() <= max(1, count // 24)


def test_a_sheet_reads_from_left_to_right_in_full_colour(tmp_path):
    red, green = np.full((48, 48, 3), (255, 0, 0), np.uint8), np.full((48, 48, 3), (0, 255, 0), np.uint8)
    record(tmp_path / "sheet.png", [red, green])
    sheet = iio.imread(tmp_path / "sheet.png")
    assert tuple(sheet[10, 10]) == (255, 0, 0)
    assert tuple(sheet[10, -10]) == (0, 255, 0)


def test_a_sheet_copies_frames_that_are_reused(tmp_path):
    buffer = shade(100)
    with Recorder(tmp_path / "sheet.png", 5) as recorder:
        for value in (100, 150):
            buffer[:] = value
            recorder.add(buffer)
    assert {100, 150} <= set(np.unique(iio.imread(tmp_path / "sheet.png")).tolist())


@pytest.mark.parametrize("name", ["a.avi", "a", "a.mp4.txt"])
def test_an_unknown_suffix_is_refused_at_once(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.mp4, \.gif or \.png"):
        Recorder(tmp_path / name, 5)


def test_fps_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="fps above 0"):
        Recorder(tmp_path / "a.gif", 0)


@pytest.mark.parametrize("suffix", ["mp4", "png"])
def test_where_no_file_can_be_is_refused_before_the_first_frame(tmp_path, suffix):
    (tmp_path / f"taken.{suffix}").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / f"taken.{suffix}", tmp_path / "file" / f"a.{suffix}"):
        with pytest.raises(CheckpointError, match=f"cannot write {path}"), Recorder(path, 5):
            pytest.fail("the recording began")


@pytest.mark.parametrize("suffix", ["mp4", "gif", "png"])
def test_an_interrupted_recording_leaves_what_was_there(tmp_path, suffix):
    path = tmp_path / f"episode.{suffix}"
    path.write_bytes(b"an older one")

    def interrupted():
        with Recorder(path, 5) as recorder:
            recorder.add(shade(1))
            assert path.read_bytes() == b"an older one"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == b"an older one"


@pytest.mark.parametrize("suffix", ["mp4", "png"])
def test_a_recording_without_frames_is_an_error(tmp_path, suffix):
    with pytest.raises(ValueError, match="at least one frame"):
        record(tmp_path / f"episode.{suffix}", [])
    assert os.listdir(tmp_path) == []


def test_frames_must_be_images_of_one_size(tmp_path):
    with pytest.raises(ValueError, match="first one's shape"):
        record(tmp_path / "a.gif", [shade(1), shade(1, 20, 20)])
    with pytest.raises(ValueError, match="dtype uint8"):
        record(tmp_path / "a.gif", [shade(1) / 255])
    assert os.listdir(tmp_path) == []


def test_frames_are_added_inside_the_block_only(tmp_path):
    recorder = Recorder(tmp_path / "a.gif", 5)
    with pytest.raises(RuntimeError, match="with Recorder"):
        recorder.add(shade(1))


def test_a_further_panel_stands_at_the_right_end_as_large_as_the_others():
    frame = draw()
    wider = with_panel(frame, "Goal", np.full((8, 8, 3), MAGENTA, np.uint8))
    assert frame.shape[0] == wider.shape[0]
    np.testing.assert_array_equal(wider[:, : frame.shape[1]], frame)
    x0, x1, y0, y1 = extent(wider, MAGENTA)
    margin, side = 16, 312
    assert (x0, x1, x1 - x0, y1 - y0) == (frame.shape[1], wider.shape[1] - margin, side, side)
    assert (y0, y1) == (36, 36 + side)
    word = with_panel(frame, "Find", "mug")[36 : 36 + side, frame.shape[1] : -margin]
    letters = extent(word, BOX)
    assert middle(letters) == pytest.approx((side / 2, side / 2), abs=6)
    long = with_panel(frame, "Find", "a" * 200)
    assert long.shape == wider.shape
    grey_goal = with_panel(frame, "Goal", np.full((8, 8, 1), 77, np.uint8))
    assert (grey_goal[180, frame.shape[1] + 50] == 77).all()
