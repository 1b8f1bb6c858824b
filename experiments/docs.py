"""`glimpseworld docs`: the environments' documentation, written from their docstrings, spaces and frames."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from gymnasium.envs.registration import load_env_creator

from .. import envs as _envs
from ..envs.registration import DATA_ENV_IDS
from ..world_model.checkpoint import check_writable

_SMALL = {"split": "validation", "members_per_family": 4}
"""Quick to make; the spaces are the same and any of them gives a picture."""
_STEPS = 6
_INTRODUCTION = """\
# Environments

<!-- Written by `glimpseworld docs` from the docstrings: change those, then run it again. -->

Importing `glimpseworld.envs` registers these ids with Gymnasium: `gym.make(id, ...)` gives one environment,
`gym.make_vec(id, num_envs, ...)` a batch that is computed at once. The spaces are those of the default arguments.
Both take `max_episode_steps`, the steps after which an episode is truncated: None for 16, -1 for no limit.
"""


@dataclass(frozen=True)
class DocsConfig:
    """Write the documentation page of every environment id, with a picture of each."""

    folder: Path = Path(_envs.__file__).parent
    """Where README.md and pictures/ go."""
    check: bool = False
    """Write nothing; fail if the text is out of date or a picture is missing."""


@dataclass(frozen=True)
class Page:
    """What is told of an environment: its id, docstring and, unless it needs data of the user's, spaces and picture."""

    env_id: str
    text: str
    observation_space: str | None = None
    action_space: str | None = None
    picture: np.ndarray | None = None

    @property
    def picture_name(self) -> str:
        """The file name of the picture, such as Saccade.png."""
        return re.sub(r"-v\d+$", "", self.env_id.split("/")[-1]) + ".png"


def main(arguments: list[str]) -> None:
    """Run the command."""
    config = tyro.cli(
        DocsConfig,
        args=arguments,
        prog="glimpseworld docs",
        description="Write the environments' documentation from their docstrings.",
    )
    if not config.check:
        check_writable(config.folder / "README.md")
    pages = [make_page(env_id) for env_id in documented_ids()]
    if not config.check:
        write(pages, config.folder)
        pictures = sum(page.picture is not None for page in pages)
        print(f"wrote {config.folder / 'README.md'}, of {len(pages)} environments, and {pictures} pictures")
    elif stale := out_of_date(pages, config.folder):
        raise ValueError(f"{', '.join(stale)} out of date in {config.folder}: run `glimpseworld docs`")
    else:
        print(f"{config.folder / 'README.md'} and its pictures are up to date")


def documented_ids() -> list[str]:
    """Return every id that `glimpseworld.envs` registered, those that need data of the user's among them."""
    package = _envs.__name__ + "."
    return [env_id for env_id, spec in gym.registry.items() if str(spec.entry_point).startswith(package)]


def write(pages: list[Page], folder: Path) -> None:
    """Write `README.md` and `pictures/` into `folder`."""
    import cv2

    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for page in pages:
        if page.picture is not None:
            _, png = cv2.imencode(".png", page.picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
            (pictures / page.picture_name).write_bytes(png.tobytes())
    for name in _unknown_pictures(pages, folder):
        (folder / name).unlink()
    (folder / "README.md").write_text(document(pages), encoding="utf-8")


def out_of_date(pages: list[Page], folder: Path) -> list[str]:
    """Return the names of files in `folder` that `write` would change.

    Pictures need only be there: their bytes differ between versions of what draws and packs them.
    """
    readme = folder / "README.md"
    current = readme.is_file() and readme.read_text(encoding="utf-8") == document(pages)
    shown = [f"pictures/{page.picture_name}" for page in pages if page.picture is not None]
    missing = [name for name in shown if not (folder / name).is_file()]
    return [*([] if current else ["README.md"]), *missing, *_unknown_pictures(pages, folder)]


def document(pages: list[Page]) -> str:
    """Return the text of `README.md`: a table of the ids and their spaces, then each page."""
    rows = ["| id | observation space | action space |", "| --- | --- | --- |"]
    for page in pages:
        anchor = re.sub(r"[^\w-]", "", page.env_id.lower())  # as GitHub makes it of a heading
        spaces = [f"`{page.observation_space}`", f"`{page.action_space}`"]
        if page.observation_space is None:
            spaces = ["of the data you give it"] * 2
        rows.append(f"| [`{page.env_id}`](#{anchor}) | {' | '.join(spaces)} |")
    return "\n".join([_INTRODUCTION, *rows, "", *(_section(page) for page in pages)]).rstrip() + "\n"


def make_page(env_id: str) -> Page:
    """Return the page of an id; an environment that needs data of the user's is not made."""
    spec = gym.spec(env_id)
    creator: Callable[..., Any] = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)  # pyright: ignore[reportArgumentType]
    text = inspect.getdoc(creator) or ""
    if env_id in DATA_ENV_IDS:
        return Page(env_id, text)
    env = _make_small(env_id)
    try:
        return Page(env_id, text, repr(env.observation_space), repr(env.action_space), _picture(env))
    finally:
        env.close()


def _make_small(env_id: str) -> gym.Env[Any, Any]:
    try:
        return gym.make(env_id, render_mode="rgb_array", **_SMALL)
    except TypeError:  # a world of images has no families
        return gym.make(env_id, render_mode="rgb_array", split=_SMALL["split"])


def _picture(env: gym.Env[Any, Any]) -> np.ndarray:
    """Return the frame, (H, W, 3) uint8, after a few random steps, or where an episode ends before."""
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(_STEPS):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            break
    return np.asarray(env.render())


def _section(page: Page) -> str:
    picture = f"![A frame of {page.env_id}](pictures/{page.picture_name})\n\n" if page.picture is not None else ""
    deeper = re.sub(r"^#", "##", page.text, flags=re.MULTILINE)  # below the id's own heading
    return f"## {page.env_id}\n\n{picture}{deeper}\n"


def _unknown_pictures(pages: list[Page], folder: Path) -> list[str]:
    known = {page.picture_name for page in pages if page.picture is not None}
    return sorted(f"pictures/{path.name}" for path in (folder / "pictures").glob("*.png") if path.name not in known)
