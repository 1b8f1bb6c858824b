"""`glimpseworld train`: an agent acts, a model learns from what it sees, and both go on in turns."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from ..agents.rollout import Rollout
from ..envs.environment import GlimpseVectorEnv
from ..envs.world import World
from ..world_model.build import build_model, model_settings, new_model
from ..world_model.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    saving,
    write_json,
)
from ..world_model.learner import Learner
from ..world_model.motion import MotionKind
from ..world_model.paths import Paths, draw_paths
from ..world_model.probes import feature_std, rankme
from ..world_model.protocol import WorldModel
from ..world_model.published import published_model, read_published
from ..world_model.replay import SequenceReplay, Windows
from ..world_model.settings import flat_settings
from .config import TrainConfig, from_dict, make_agent, make_world, model_config
from .interrupt import held_back
from .measure import Material, relative_r2, top1_from_context
from .report import training_bar
from .run_log import RunLog
from .view_sets import ViewSet, balanced_items, make_view_set, own_fixations

PROBE_CONTEXT = 3
"""Views behind the z_agg of the probes during training."""
PROBE_THINGS, PROBE_VIEWS, PROBE_SAMPLES = (640, 240), 8, (8_000, 1_920)
"""Training and validation things of those probes, views of each, and samples fitted and scored on."""

RESUMABLE = ("device", "folder", "log_every", "probe_every", "checkpoint_every", "final_evaluation")
"""Settings that may differ when a run is gone on with: what is learned does not depend on them."""


@dataclass
class Budget:
    """What a run's acting and learning have cost so far; probes, checkpoints and evaluations are not in it."""

    core_seconds: float = 0.0
    """CPU time of the process over all its threads; what a GPU does is not in it."""
    online_views: int = 0
    """Views that the online encoder has encoded."""
    target_views: int = 0
    """Views that the target encoder has encoded, which costs no backward pass."""

    def count_views(self, model: torch.nn.Module) -> None:
        """Count the views that pass the encoders of `model` in training mode from now on."""
        parts = dict(model.named_children())

        def count(name: str, part: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
            if part.training:
                setattr(self, name, getattr(self, name) + len(inputs[0]))

        for name, child in (("online_views", "encoder"), ("target_views", "target_encoder")):
            if child in parts:
                parts[child].register_forward_pre_hook(partial(count, name))


class Trainer:
    """Everything a run consists of, with the means to save and restore all of it.

    Args:
        config: The settings.
        folder: The run's folder.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        agent_seed, replay_seed, probe_seed, envs_seed, path_seed = np.random.SeedSequence(config.seed).spawn(5)
        seeds = {"agent": agent_seed, "replay": replay_seed, "paths": path_seed}
        self.generators = {name: np.random.default_rng(seed) for name, seed in seeds.items()}
        device = checked_device(config.device)
        torch.manual_seed(config.seed)  # initial weights and dropout
        world = make_world(config, "train")
        self.envs = GlimpseVectorEnv(world, num_envs=config.num_envs, max_episode_steps=config.episode_steps)
        model = new_model(model_config(config, world))
        self.replay = SequenceReplay(
            config.replay.capacity,
            world.glimpse_space.shape,  # pyright: ignore[reportArgumentType]
            world.motion_kind,
            world.motion_space.shape[0],
            config.num_envs,
            labels=model.needs_labels,
        )
        self.learner = Learner(model, config.learner, device=device)
        agent = make_agent(config.agent, world, config.num_envs, self.generators["agent"], model)
        # Not config.seed itself: sub-environment i gets seed + i, so neighbouring runs would share their episodes.
        self.rollout = Rollout(self.envs, agent, int(envs_seed.generate_state(1, np.uint64)[0] >> 1))
        self.material = probe_material(config, world, np.random.default_rng(probe_seed))
        self.glimpses = 0
        self.seconds = 0.0
        self.budget = Budget()
        self.budget.count_views(self.learner.model)

    def begin_from(self, reference: Path) -> None:
        """Give the model the weights of a published checkpoint; everything else stays as at the beginning of a run.

        Raises:
            ValueError: if the file is no such checkpoint, or the model is of other sizes.
        """
        world, model = self.envs.world, self.learner.model
        (motion_dim,), channels = world.motion_space.shape, world.glimpse_space.shape[2]
        published = published_model(read_published(reference), world.motion_kind, motion_dim, channels)
        own, theirs = model.config.to_dict(), published.config.to_dict()
        if own["heads"] != theirs["heads"]:  # which no shape tells
            raise ValueError(f"published models have {theirs['heads']} attention heads: set --model.heads likewise")
        if own["memory"]["layers"]:
            raise ValueError("published models have no path memory: leave --model.memory out")
        try:
            model.load_state_dict(published.state_dict())
        except RuntimeError as error:
            names = (
                "encoder",
                "z_dim",
                "motion_embedding",
                "layers",
                "predictor_hidden",
                "predictor_layers",
                "condition",
            )
            differing = [f"{name} {theirs[name]}, not {own[name]}" for name in names if own[name] != theirs[name]]
            raise ValueError(
                f"the model is not of the sizes of {reference}, which has {'; '.join(differing)}: set --model. options "
                "likewise, or start from a preset of the paper"
            ) from error

    def advance(self) -> dict[str, float]:
        """Act until the ratio of glimpses to updates is met, then take one update; return its metrics."""
        began = time.process_time()
        due = self.config.warmup_glimpses + self.config.glimpses_per_update * (self.learner.steps + 1)
        options = self.config.replay
        while self.glimpses < due or not self.replay.can_sample(options.context, options.targets):
            step = self.rollout.step()
            label = step.info["label"] if self.learner.model.needs_labels else None
            self.replay.add(step.glimpse, step.motion, step.first, label)
            self.glimpses += self.config.num_envs
        windows = self.replay.sample(
            self.config.batch_size,
            context=options.context,
            targets=options.targets,
            mode=options.windows,
            generator=self.generators["replay"],
        )
        paths = paths_through(windows, self.config, self.replay.motion_kind, self.generators["paths"])
        metrics = self.learner.update(windows, paths)
        self.budget.core_seconds += time.process_time() - began
        return metrics

    def probe(self) -> dict[str, float]:
        """Measure the model on validation things; keys as in `run_log`."""
        model = self.learner.model
        subject = self.material.subject(model)
        found = {
            "probe/relative_r2": relative_r2(subject, self.material)["value"],
            "probe/top1_z_agg": top1_from_context(subject, self.material, PROBE_CONTEXT)["value"],
        }
        z = subject.test.online.flatten(0, 1).numpy()
        model.train()
        return found | {"probe/rankme": rankme(z), "probe/z_std": feature_std(z)}

    def save(self) -> Path:
        """Write a checkpoint. That of a finished run leaves the replay and the environments out."""
        finished = self.learner.steps >= self.config.learner.total_steps
        arrays = self.learner.arrays()
        replay_state: dict[str, Any] = {}
        if not finished:
            saved = self.replay.state_dict()
            arrays["replay"] = {key: value for key, value in saved.items() if isinstance(value, np.ndarray)}
            arrays["rollout"] = self.rollout.state()
            replay_state = {key: value for key, value in saved.items() if key not in arrays["replay"]}
        state = {
            "steps": self.learner.steps,
            "glimpses": self.glimpses,
            "seconds": self.seconds,
            "budget": asdict(self.budget),
            "config": asdict(self.config),
            "replay": replay_state,
            "generators": {name: rng.bit_generator.state for name, rng in self.generators.items()},
            "torch_generator": torch.get_rng_state().tolist(),
            "model": model_settings(self.learner.model),
        }
        if self.learner.device.type == "cuda":
            state["cuda_generator"] = torch.cuda.get_rng_state(self.learner.device).tolist()
        return save_checkpoint(
            self.folder / "checkpoints", self.learner.steps, arrays, state, keep=1 if finished else 2
        )

    def restore(self, checkpoint: Path) -> None:
        """Go back to where `checkpoint` was written.

        Raises:
            CheckpointError: if it cannot be read or is that of a finished run.
        """
        arrays, state = load_checkpoint(checkpoint)
        if "replay" not in arrays:
            raise CheckpointError(
                f"the run in {self.folder} is finished; look at it with: glimpseworld evaluate {self.folder}"
            )
        if "budget" not in state:
            raise CheckpointError(f"{checkpoint} is of a version that counted no budget: start the run again")
        self.learner.load_arrays(arrays, state["steps"])
        for name, value in state["budget"].items():
            setattr(self.budget, name, value)
        self.replay.load_state_dict({**arrays["replay"], **state["replay"]})
        self.rollout.set_state(arrays["rollout"])
        self.glimpses, self.seconds = state["glimpses"], state["seconds"]
        for name, rng in self.generators.items():
            rng.bit_generator.state = state["generators"][name]
        torch.set_rng_state(torch.tensor(state["torch_generator"], dtype=torch.uint8))
        if "cuda_generator" in state:
            torch.cuda.set_rng_state(torch.tensor(state["cuda_generator"], dtype=torch.uint8), self.learner.device)


def paths_through(
    windows: Windows, config: TrainConfig, kind: MotionKind, generator: np.random.Generator
) -> Paths | None:
    """Return the paths that a path memory is trained on with a batch; None for a model without one."""
    longest = config.model.memory.longest
    if not config.model.memory.layers:
        return None
    options = config.paths
    return draw_paths(windows, kind, options.count, longest=longest, swapped=options.swapped, generator=generator)


def probe_material(config: TrainConfig, fit_world: World, rng: np.random.Generator) -> Material:
    """Return small view sets for the probes during training: fitted on training things, scored on validation things."""
    if config.saccade.probe_images is not None:
        fit_world = make_world(config, "train", probing=True)
    test_world = make_world(config, "validation", probing=True)
    fixations = own_fixations(config)

    def views(world: World, things: int) -> ViewSet:
        return make_view_set(world, balanced_items(world, things, rng), PROBE_VIEWS, rng, fixations=fixations)

    return Material(
        fit=views(fit_world, PROBE_THINGS[0]),
        test=views(test_world, PROBE_THINGS[1]),
        seed=config.seed,
        fit_samples=PROBE_SAMPLES[0],
        test_samples=PROBE_SAMPLES[1],
    )


def train(config: TrainConfig, folder: Path, *, resume: bool = False, stop_after: int | None = None) -> None:
    """Run, or go on with, the training in `folder`.

    Args:
        config: The settings; for a resumed run those it was started with.
        folder: The run's folder, which must be new unless `resume`.
        resume: Go on from the newest checkpoint.
        stop_after: Leave off after this update, as a kill would; None to go to the end.

    Raises:
        CheckpointError: if there is nothing to resume, a checkpoint cannot be read or written, or another process
            trains in `folder`.
        KeyboardInterrupt: after Ctrl-C, when the update that was on its way is done and a checkpoint written.
        LossNotFiniteError: if the loss is NaN or infinite.
    """
    with alone_in(folder):
        _train(config, folder, resume=resume, stop_after=stop_after)


def _train(config: TrainConfig, folder: Path, *, resume: bool, stop_after: int | None) -> None:
    checkpoint = latest_checkpoint(folder / "checkpoints") if resume else None
    if resume and checkpoint is None:
        raise CheckpointError(f"no checkpoint in {folder}: nothing to resume; start the run again")
    if checkpoint is not None:
        _refuse_edited(config, folder, checkpoint)
    trainer = Trainer(config, folder)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    elif config.from_reference is not None:
        trainer.begin_from(Path(config.from_reference))
    log = RunLog(folder, resume_step=trainer.learner.steps)
    total = config.learner.total_steps
    with held_back() as interrupted:
        try:
            with training_bar(total, trainer.learner.steps) as bar:
                _loop(trainer, log, bar, total if stop_after is None else min(stop_after, total), interrupted)
            if interrupted():
                trainer.save()
                print(f"saved at update {trainer.learner.steps} of {total} in {folder}", file=sys.stderr)
        finally:
            log.close()


def _refuse_edited(config: TrainConfig, folder: Path, checkpoint: Path) -> None:
    """Raise CheckpointError if `config` departs, `RESUMABLE` apart, from what the run has gone by so far."""
    saved = load_checkpoint(checkpoint, only=[])[1].get("config")
    if saved is None:  # as in the run of a published checkpoint, or of a version that kept none
        return
    now, before = flat_settings(json.loads(json.dumps(asdict(config)))), flat_settings(saved)
    edited = [key for key in {**before, **now} if now.get(key) != before.get(key) and key not in RESUMABLE]
    if edited:
        differences = "; ".join(f"{key} {now.get(key)}, was {before.get(key)}" for key in edited)
        raise CheckpointError(
            f"{folder / 'config.json'} differs from what the run has gone by so far: {differences}. Put these back, or "
            f"start another run; only {', '.join(RESUMABLE)} may change"
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from training in `folder` meanwhile; the end of this process, however it comes, frees it.

    Raises:
        CheckpointError: if another process trains there, or the lock cannot be written.
    """
    with saving(f"the lock of {folder}"):
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise CheckpointError(f"another process trains in {folder}: let it end, or stop it first") from error
    try:
        yield
    finally:
        lock.release()


def _loop(trainer: Trainer, log: RunLog, bar: Any, last: int, interrupted: Callable[[], bool]) -> None:
    """Advance to update `last`, or as far as one gets, logging, probing and saving on the way."""
    config, learner = trainer.config, trainer.learner
    total = config.learner.total_steps
    shown: dict[str, str] = {}
    glimpses, clock = trainer.glimpses, time.monotonic()
    began, before = time.monotonic(), trainer.seconds
    while learner.steps < last and not interrupted():
        metrics = trainer.advance()
        bar.update(1)
        step = learner.steps
        probing = step % config.probe_every == 0 or step == total
        if step % config.log_every == 0 or probing:
            trainer.seconds = before + time.monotonic() - began
            now = time.monotonic()
            rate, glimpses, clock = (trainer.glimpses - glimpses) / max(now - clock, 1e-9), trainer.glimpses, now
            row = {"step": step, "glimpses": trainer.glimpses, "seconds": trainer.seconds, "glimpses_per_second": rate}
            row |= asdict(trainer.budget)
            if probing:
                found = trainer.probe()
                shown |= {"R2": f"{found['probe/relative_r2']:.2f}", "top1": f"{found['probe/top1_z_agg']:.2f}"}
                metrics |= found
                clock = time.monotonic()
            log.write(row | metrics)
            shown |= {"loss": f"{metrics['loss']:.3f}", "glimpses/s": f"{rate:.0f}"}
            bar.set_postfix(shown)
        if step % config.checkpoint_every == 0 or step == total:
            trainer.seconds = before + time.monotonic() - began
            trainer.save()
            clock = time.monotonic()


def checked_device(name: str) -> torch.device:
    """Return the device, or say why it cannot be had.

    Raises:
        ValueError: if PyTorch does not know it, or this machine lacks it.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"cannot compute on device {name!r}: {str(error).splitlines()[0]}") from error
    return device


def new_run_folder(root: Path, name: str, seed: int) -> Path:
    """Make and return a folder named by preset, seed and time, with a number where that is taken."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):
        folder = root / (f"{name}-seed{seed}-{stamp}" + (f"-{attempt}" if attempt else ""))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"no free name for a run in {root}")


def save_config(config: TrainConfig, folder: Path) -> None:
    """Write `config.json`, which `load_config` reads."""
    with saving(str(folder / "config.json"), "Free some space and start again"):
        write_json(folder / "config.json", asdict(config))


def load_config(folder: Path) -> TrainConfig:
    """Return the settings of the run in `folder`.

    Raises:
        CheckpointError: if the folder is no run, or its config.json is damaged or of another version.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is no run: expected a folder that `glimpseworld train` made, with config.json in it"
        )
    try:
        return from_dict(TrainConfig, json.loads(path.read_text()))
    except ValueError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def require_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint of the run in `folder`.

    Raises:
        CheckpointError: if there is none.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}: name one that `glimpseworld train` made")
    checkpoint = latest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(f"no checkpoint in {folder} yet: let the run reach its first one")
    return checkpoint


def load_model(folder: Path, device: str = "cpu") -> tuple[WorldModel, int]:
    """Return the newest model of the run in `folder`, in eval mode, and the update it is from.

    Raises:
        CheckpointError: if there is none, it cannot be read, or it is of another version.
        ValueError: if the device cannot be had.
    """
    place, checkpoint = checked_device(device), require_checkpoint(folder)
    arrays, state = load_checkpoint(checkpoint, only=["model"])
    try:
        model = build_model(state["model"])
    except ValueError as error:
        raise CheckpointError(f"cannot build the model of {checkpoint}: {error}") from error
    model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays["model"].items()})
    return model.to(place).eval(), state["steps"]


def load_budget(folder: Path) -> dict[str, float] | None:
    """Return what the newest model of the run in `folder` has cost: `steps`, `glimpses`, `seconds` and `Budget`'s.

    None for a run of a version that counted no budget.

    Raises:
        CheckpointError: if there is no checkpoint, or it cannot be read.
    """
    checkpoint = require_checkpoint(folder)
    state = load_checkpoint(checkpoint, only=[])[1]
    if "budget" not in state:
        return None
    return {key: state[key] for key in ("steps", "glimpses", "seconds")} | state["budget"]
