"""Recorded episodes as Minari data sets, and back."""

from __future__ import annotations

import shutil
import warnings
from typing import Any

import gymnasium as gym
import numpy as np

from ..world_model.checkpoint import check_writable
from ..world_model.episodes import Episodes
from ..world_model.motion import MotionKind

_KINDS: dict[tuple[int, ...] | None, MotionKind] = {(4,): "rotation", (6,): "rotation-colour"}
"""Motions by the shape of their space; those of other shapes are translations."""


def save_minari(episodes: Episodes, name: str) -> None:
    """Write a local Minari data set in its HDF5 format, with lossless views.

    An episode of n views becomes one of n - 1 steps and n observations, `glimpse`, `motion` and the further entries.
    `label` and `index` are in the infos, once an observation. `recover_environment` gives the environment.

    Args:
        episodes: what to write; `source` has the id and the kwargs of the environment.
        name: of the data set, as Minari has it, for instance "glimpseworld/saccade/random-v0". Where data sets are
            kept, the environment variable MINARI_DATASETS_PATH says.

    Raises:
        ValueError: if Minari is not installed, the name is not as Minari has it, or the name is taken.
        CheckpointError: if nothing can be written where data sets are kept.
    """
    check_new_minari(name)
    import minari
    from minari.storage import get_dataset_path

    env = gym.make(episodes.source["env"], **episodes.source["kwargs"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it would have an author and a link to code
            minari.create_dataset_from_buffers(
                name,
                [_buffer(episodes, number) for number in range(len(episodes))],
                env=env,
                algorithm_name=str(episodes.source.get("agent", "unknown")),
                description=f"Episodes of {episodes.source['env']}, recorded by GlimpseWorld.",
                data_format="hdf5",
                jpeg_encoding=False,
            )
    except BaseException:
        shutil.rmtree(get_dataset_path(name), ignore_errors=True)  # half a data set would keep its name
        raise
    finally:
        env.close()


def check_new_minari(name: str) -> None:
    """See, before the work for it, that `save_minari` can write a data set called `name`; it raises the same errors."""
    require_minari()
    _check_name(name)
    from minari.storage import get_dataset_path

    folder = get_dataset_path(name)
    if folder.exists():
        raise ValueError(f"the Minari data set {name} already exists: choose another name or version, or delete it")
    check_writable(folder / "data" / "metadata.json")


def load_minari(name: str) -> Episodes:
    """Return the episodes of a local Minari data set of one of this package's environments.

    It may be one that `save_minari` wrote, or that `minari.DataCollector` recorded with `record_infos=True`.

    Raises:
        ValueError: if Minari is not installed, the name is not as Minari has it, there is no such data set, or it holds
            no glimpses and motions.
    """
    minari = require_minari()
    _check_name(name)
    try:
        dataset = minari.load_dataset(name)
    except FileNotFoundError as error:
        raise ValueError(
            f"there is no local Minari data set {name!r}: `minari list local` shows those there are"
        ) from error
    space = dataset.observation_space
    if not isinstance(space, gym.spaces.Dict) or not {"glimpse", "motion"} <= set(space.spaces):
        raise ValueError(f"{name} holds no glimpses and motions: its observations are {space}")
    parts = [_arrays(episode) for episode in dataset.iterate_episodes()]
    if not parts:
        raise ValueError(f"{name} has no episodes")
    if any("label" not in part or "index" not in part for part in parts):
        raise ValueError(f"{name} does not tell label and index: record it with DataCollector(env, record_infos=True)")
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    spec = dataset.spec.env_spec
    return Episodes(
        **{key: joined.pop(key) for key in ("first", "actions", "rewards", "terminated", "label", "index")},
        views=joined.pop("glimpse"),
        motions=joined.pop("motion"),
        motion_kind=_KINDS.get(space["motion"].shape, "translation"),
        entries=joined,
        source={} if spec is None else {"env": spec.id, "kwargs": dict(spec.kwargs), "minari": name},
    )


def _buffer(episodes: Episodes, number: int) -> Any:
    from minari.data_collector import EpisodeBuffer

    begin, end = (int(place) for place in episodes.starts[number : number + 2])
    seen, moved = slice(begin, end), slice(begin + 1, end)
    terminations = episodes.terminated[moved]
    truncations = np.zeros(len(terminations), dtype=bool)
    truncations[-1:] = ~terminations[-1:]
    observations = {"glimpse": episodes.views[seen], "motion": episodes.motions[seen]}
    things = {"label": episodes.label[number], "index": episodes.index[number]}
    return EpisodeBuffer(
        id=number,
        observations=observations | {key: array[seen] for key, array in episodes.entries.items()},
        actions=episodes.actions[moved],  # pyright: ignore[reportArgumentType]
        rewards=episodes.rewards[moved],  # pyright: ignore[reportArgumentType]
        terminations=terminations,  # pyright: ignore[reportArgumentType]
        truncations=truncations,  # pyright: ignore[reportArgumentType]
        infos={key: np.full(end - begin, value) for key, value in things.items()},
    )


def _arrays(episode: Any) -> dict[str, np.ndarray]:
    """Return an episode's arrays as `Episodes` has them, and the entries of its observation."""
    count = len(episode.rewards) + 1
    first = np.zeros(count, dtype=bool)
    first[0] = True
    infos = episode.infos or {}
    return {
        **{key: np.asarray(value) for key, value in episode.observations.items()},
        "first": first,
        "actions": _from_second(episode.actions, np.float32),
        "rewards": _from_second(episode.rewards, np.float64),
        "terminated": _from_second(episode.terminations, np.bool_),
        **{key: np.asarray(infos[key])[:1] for key in ("label", "index") if key in infos},
    }


def _from_second(values: Any, dtype: Any) -> np.ndarray:
    """Return what led to each view: zeros for the first, which no action led to."""
    array = np.asarray(values, dtype=dtype)
    return np.concatenate([np.zeros_like(array[:1], shape=(1, *array.shape[1:])), array])


def _check_name(name: str) -> None:
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        parse_dataset_id(name)
    except (ValueError, TypeError):  # TypeError: of a name without a version
        raise ValueError(
            "expected minari:NAME-vVERSION, or with a namespace before the name, such as minari:test-v0 or "
            f"minari:saccade/random-v0, got {'minari:' + name!r}: letters, digits, hyphens and underscores make a name"
        ) from None


def require_minari() -> Any:
    """Return the module `minari`, or say how to install it.

    Raises:
        ValueError: if it, or what its HDF5 format needs, is not installed.
    """
    try:
        import h5py  # noqa: F401 - Minari says that it lacks it only after it has made the data set's folder
        import minari
    except ImportError as error:
        raise ValueError(
            "Minari data sets need the extra minari, on Python 3.11 or newer: pip install 'glimpseworld[minari]' "
            f"({error})"
        ) from error
    return minari
