"""`glimpseworld bench envs`: how fast the environments are, next to the fastest there is to compare with.

A ratio is of one run: short repetitions of ours and of the reference take turns, and the median of their ratios counts,
so that a busy machine slows both alike. Rates are medians too, and worth less: compare them on an idle machine only.

The references:

- *gather*: the same glimpses, cut from the same images by one NumPy index into strided windows. No seeds, positions,
  episodes, spaces or infos: nothing that returns these arrays can be faster in NumPy.
- *ap_gym*: its vector environment of glimpses on circles and squares, 28 x 28 x 1; ours cuts as large glimpses from as
  large images. Its image loader runs without prefetching, as its thread would slow ours.
- *PyBullet*: TinyRenderer with the same mesh and a pose of its own in each view; once with floor and shadow, as ours
  has them, once the mesh alone without shadow.
"""

from __future__ import annotations

import importlib
import itertools
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from tqdm import tqdm

from ..envs.imagery.image_set import ImageSet
from ..envs.object_rotation import ObjectRotationVectorEnv
from ..envs.saccade import SaccadeVectorEnv
from ..envs.shapes.objects import ObjectSet
from .timing import Row, compare, duration_of
from .tiny_renderer import TinyRenderer

EPISODE = 16
"""Steps of an episode; with the reset, one in 17 steps of the vector environments begins one."""
_PEERS = ("ap_gym", "pybullet")
_IMPORT = """
import sys, time
began = time.perf_counter()
import glimpseworld.envs
print(time.perf_counter() - began, sum(name.split(".")[0] == "torch" for name in sys.modules))
"""


@dataclass(frozen=True)
class BenchConfig:
    """Measure speed on this machine, beside reference work and peers that are installed."""

    what: Annotated[Literal["envs", "planning"], tyro.conf.Positional]
    """What to measure: the environments, or a planner beside the bare calls of its model."""
    seconds: float = 2.0
    """How long to measure each row."""
    long: bool = False
    """Watch memory over a million glimpses, not 200 thousand (envs)."""
    json: bool = False
    """Print JSON instead of the table."""

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and math.isfinite(self.seconds)):
            raise ValueError(f"seconds must be positive and finite, got {self.seconds}")


def main(arguments: list[str]) -> None:
    """Run the command."""
    config = tyro.cli(
        BenchConfig, args=arguments, prog="glimpseworld bench", description="How fast environments and planning are."
    )
    results = bench_envs(config) if config.what == "envs" else _bench_planning(config)
    if config.json:
        rows = [asdict(row) | {"met": row.met} for row in results["rows"]]
        json.dump({"machine": results["machine"], "rows": rows}, sys.stdout, indent=2)
        print()
    else:
        print(bench_table(results))


def bench_envs(config: BenchConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Measure every row; return {"machine": {name: value}, "rows": [Row]}."""
    parts: list[Callable[[], Row | list[Row]]] = [
        partial(saccade_row, config.seconds),
        partial(fovea_row, config.seconds, "multiscale", "multi-scale (1, 2, 4)"),
        partial(fovea_row, config.seconds, "logpolar", "log-polar"),
        partial(ap_gym_row, config.seconds),
        partial(pybullet_rows, config.seconds, 64, 2.0),
        partial(pybullet_rows, config.seconds, 128, 1.5),
        partial(kernel_row, config.seconds),
        import_rows,
        partial(memory_row, 1_000_000 if config.long else 200_000),
    ]
    rows: list[Row] = []
    for part in tqdm(parts, desc="measuring", leave=False, disable=quiet or None):
        found = part()
        rows += found if isinstance(found, list) else [found]
    return {"machine": machine(), "rows": rows}


def _bench_planning(config: BenchConfig) -> dict[str, Any]:
    from .bench_planning import planning_rows  # it draws in torch, which measures of the environments do without

    return {"machine": machine(), "rows": planning_rows(config.seconds)}


def machine() -> dict[str, Any]:
    """Return processor, number of cores, load, and the versions of what counts for speed."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    found = {
        "processor": models[0].split(":", 1)[1].strip() if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
    }
    for package in ("glimpseworld", "numpy", "gymnasium", "embreex", *_PEERS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def bench_table(results: dict[str, Any]) -> str:
    """Return machine and rows as text."""
    lines = [", ".join(f"{key} {value}" for key, value in results["machine"].items() if value is not None), ""]
    lines += [f"{'work':64}{'ours':>22}{'reference':>22}{'ratio':>9}  bar", "-" * 130]
    for row in results["rows"]:
        ratio = f"{row.measured:.2f}" if row.reference is not None and row.measured is not None else ""
        verdict = {True: "met", False: "MISSED", None: "not measured"}[row.met]
        sign = "<=" if row.at_most else ">="
        cells = [_cell(row.ours, row.unit), _cell(row.reference, row.unit)]
        lines.append(f"{row.work:64}{cells[0]:>22}{cells[1]:>22}{ratio:>9}  {sign} {row.bar:g} {verdict}")
        if row.note:
            lines.append(f"  {row.note}")
    return "\n".join(lines)


def _cell(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}".rstrip()


def _against(row: Row, num_envs: int, ours: Callable[[], object], reference: Callable[[], object], s: float) -> Row:
    """Return `row` with rates, given functions that make `num_envs` glimpses a call."""
    a, b, ratio = compare(ours, reference, s)
    return replace(row, ours=a * num_envs, reference=b * num_envs, measured=ratio)


def _alone(row: Row, num_envs: int, ours: Callable[[], object], seconds: float, note: str) -> Row:
    """Return `row` with our rate only, and the reason in `note`."""
    return replace(row, ours=compare(ours, lambda: None, seconds)[0] * num_envs, note=note)


def stepper(env: Any, seed: int = 0) -> Callable[[], Any]:
    """Reset a vector environment of ours and return a function that steps it with actions drawn beforehand."""
    shape = (EPISODE + 1, *env.action_space.shape)
    actions = itertools.cycle(np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32))
    env.reset(seed=seed)
    return lambda: env.step(next(actions))


def saccade_env(
    num_envs: int, side: int, channels: int, glimpse_size: int, count: int = 2048, fovea: str = "crop"
) -> SaccadeVectorEnv:
    """Return a vector environment over `count` images of noise: what they show costs nothing."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    images = ImageSet(pixels, np.zeros(count, dtype=np.int64), ("noise",))
    return SaccadeVectorEnv(
        images, num_envs=num_envs, glimpse_size=glimpse_size, max_episode_steps=EPISODE, fovea=fovea
    )


def gathers(env: SaccadeVectorEnv, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Step `env`; yield its glimpses and where their bytes start in the flat images, (B,) int64."""
    images = env.world.images.images  # pyright: ignore[reportAttributeAccessIssue] - its world is a SaccadeWorld
    _, side, _, channels = images.shape
    step = stepper(env)
    for _ in range(steps):
        glimpses = step()[0]["glimpse"]
        state = env.world.state()
        x, y = state["corner"].T
        yield glimpses, ((state["index"] * side + y) * side + x) * channels


def bare_gather(env: SaccadeVectorEnv, steps: int = 16 * (EPISODE + 1)) -> Callable[[], np.ndarray]:
    """Return a function that cuts, in turns, the glimpses of `steps` steps of `env`, all else done before.

    Many steps, for an environment sees ever new images: the glimpses of a few would stay in the processor's cache.
    """
    images = env.world.images.images  # pyright: ignore[reportAttributeAccessIssue] - its world is a SaccadeWorld
    _, side, _, channels = images.shape
    size = env.world.glimpse_space.shape[0]
    stride, run = side * channels, size * channels
    positions = images.size - (size - 1) * stride - run + 1
    windows = np.lib.stride_tricks.as_strided(images.reshape(-1), (positions, size, run), (1, stride, 1))
    starts = itertools.cycle([start for _, start in gathers(env, steps)])
    return lambda: windows[next(starts)]


def saccade_row(seconds: float) -> Row:
    """Measure saccades through the whole Gymnasium API against the bare gather."""
    env = saccade_env(256, side=96, channels=3, glimpse_size=32)
    row = Row("Saccade, 256 x crop 32x32x3, autoreset / gather", "glimpses/s", 1 / 3)
    return _against(row, 256, stepper(env), bare_gather(env), seconds)


def fovea_row(seconds: float, fovea: str, name: str) -> Row:
    """Measure a fovea, through the whole Gymnasium API too, against the bare gather of as many crops.

    Every image has been looked at before: a fovea's tables are made once an image, and kept.
    """
    env = saccade_env(256, side=96, channels=3, glimpse_size=32, fovea=fovea)
    step = stepper(env)
    images = env.world.images.images  # pyright: ignore[reportAttributeAccessIssue] - its world is a SaccadeWorld
    everywhere = np.arange(len(images)), np.zeros((len(images), 2), dtype=np.int64)
    env.world.fovea.sample(images, *everywhere)  # pyright: ignore[reportAttributeAccessIssue]
    row = Row(f"Saccade, 256 x {name} 32x32, autoreset / gather of crops", "glimpses/s", 0.2)
    return _against(row, 256, step, bare_gather(saccade_env(256, side=96, channels=3, glimpse_size=32)), seconds)


def ap_gym_row(seconds: float) -> Row:
    """Measure saccades against ap_gym's vector environment at its own sizes."""
    row = Row("Saccade, 256 x crop 5x5x1, autoreset / ap_gym", "glimpses/s", 100.0)
    ours = stepper(saccade_env(256, side=28, channels=1, glimpse_size=5))
    if (lacking := lacking_peer("ap_gym")) is not None:
        return _alone(row, 256, ours, seconds, lacking)
    images = importlib.import_module("ap_gym.envs.image")
    config = images.ImagePerceptionConfig(
        dataset=images.CircleSquareDataset(image_shape=(28, 28)), step_limit=EPISODE, prefetch=False
    )
    classification = importlib.import_module("ap_gym.envs.image_classification")
    peer = classification.ImageClassificationVectorEnv(256, config)
    try:
        peer.reset(seed=0)
        action = peer.action_space.sample()
        return _against(row, 256, ours, lambda: peer.step(action), seconds)
    finally:
        peer.close()


def rotation_env(size: int, num_envs: int = 32) -> ObjectRotationVectorEnv:
    """Return a vector environment with shadows whose only object is one of the built-in ones."""
    env = ObjectRotationVectorEnv(num_envs=num_envs, size=size, members_per_family=1, max_episode_steps=EPISODE)
    every = env.world.objects  # pyright: ignore[reportAttributeAccessIssue] - its world is an ObjectRotationWorld
    meshes = sorted((every.mesh(i) for i in range(len(every))), key=lambda mesh: len(mesh.faces))
    mesh = meshes[len(meshes) // 2]
    env.world.objects = ObjectSet(  # pyright: ignore[reportAttributeAccessIssue]
        mesh.vertices,
        mesh.faces,
        mesh.colors,
        vertex_offsets=np.array([0, len(mesh.vertices)]),
        face_offsets=np.array([0, len(mesh.faces)]),
        labels=np.zeros(1, np.int64),
        class_names=("one",),
        split="train",
    )
    return env


def pybullet_rows(seconds: float, size: int, bar: float) -> list[Row]:
    """Measure rotations against PyBullet's TinyRenderer: the same scene, and the mesh alone without shadow."""
    env = rotation_env(size)
    mesh = env.world.objects.mesh(0)  # pyright: ignore[reportAttributeAccessIssue]
    work = f"ObjectRotation, 32 x {size}x{size}, shadows / PyBullet"
    row = Row(work, "views/s", bar, note=f"one mesh of {len(mesh.faces)} faces; PyBullet with floor and shadow")
    bare = Row(f"{work}, mesh alone", "views/s", bar)
    if (lacking := lacking_peer("pybullet")) is not None:
        return [_alone(row, 32, stepper(env), seconds, lacking)]
    rows = []
    for each, whole in ((row, True), (bare, False)):
        with TinyRenderer(mesh, size, whole_scene=whole) as peer:
            rows.append(_against(each, 32, stepper(env), lambda peer=peer: [peer.view() for _ in range(32)], seconds))
    return rows


def lacking_peer(name: str) -> str | None:
    """Return None if the peer can be imported, else a line that says what to do."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return f"{name} is not installed (pip install '.[bench]')"
        return f"{name} lacks {error.name} (pip install '.[bench]')"
    return None


def kernel_row(seconds: float, size: int = 64, tiny: int = 4) -> Row:
    """Measure the share of the rotation environment's time that grows with the pixels: Embree's and the kernels'.

    A second environment takes the same Python path, call by call, over next to no pixels; its time is the interpreter's
    and the cost of calling, and all the rest is the kernels'. One thread, so that waiting does not count.
    """
    full, empty = rotation_env(size), rotation_env(tiny)
    for env in (full, empty):
        env.world.renderer.threads = 1  # pyright: ignore[reportAttributeAccessIssue]
    _, _, ratio = compare(stepper(full), stepper(empty), seconds)  # the time of an empty step in that of a full one
    row = Row("ObjectRotation, 32 x 64x64: share inside kernels", "", 0.6)
    return replace(row, ours=1 - ratio, measured=1 - ratio)


def import_rows() -> list[Row]:
    """Measure in other processes how long importing the environments takes, and whether torch is drawn in."""
    runs = [subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True) for _ in range(3)]
    for run in runs:
        if run.returncode:
            raise OSError(f"importing glimpseworld.envs failed: {run.stderr.strip().splitlines()[-1]}")
    found = np.array([run.stdout.split() for run in runs], dtype=np.float64)
    seconds, modules = float(np.median(found[:, 0])), float(found[:, 1].max())
    return [
        Row("import glimpseworld.envs", "s", 0.7, ours=seconds, measured=seconds, at_most=True),
        Row("modules of torch it imports", "", 0.0, ours=modules, measured=modules, at_most=True),
    ]


def memory_row(glimpses: int) -> Row:
    """Measure by how much the process grows over `glimpses` glimpses of the saccade environment, after a tenth more."""
    work = f"Saccade, memory grown over {glimpses:,} glimpses"
    if not Path("/proc/self/statm").exists():
        return Row(work, "MB", 5.0, at_most=True, note="not measured: this system has no /proc/self/statm")
    step = stepper(saccade_env(256, side=96, channels=3, glimpse_size=32))
    duration_of(step, -(-glimpses // 2560))
    before = _resident_megabytes()
    duration_of(step, -(-glimpses // 256))
    grown = _resident_megabytes() - before
    return Row(work, "MB", 5.0, ours=grown, measured=grown, at_most=True)


def _resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
