"""A run made of a published checkpoint, so that it is evaluated, shown and compared as any other."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from ..world_model.checkpoint import save_checkpoint
from ..world_model.published import published_model, read_published
from ..world_model.seq_jepa import SeqJEPA
from ..world_model.views import normalize_views
from .config import ModelOptions, TrainConfig, make_world, presets
from .run_folder import new_run_folder, save_config
from .view_sets import balanced_items, make_view_set, own_fixations

_CALIBRATED_ON = (512, 4)
"""Training things, and views of each, that the statistics of a published model's targets are taken from."""


@dataclass(frozen=True)
class ReferenceConfig:
    """Make a run of a published checkpoint, and measure it."""

    from_reference: Path
    """The checkpoint: a .safetensors file, or one that torch.save wrote; nothing in it is run."""
    preset: str
    """Whose world it is measured in: paper-3diebench, paper-saccade, or another preset with motions of its kind."""
    data: str | None = None
    """Path of the data: of 3DIEBench, or of STL-10's folder; None for what the preset names."""
    folder: str = "runs"
    """Where the run's own folder is made."""


def make_reference_run(config: ReferenceConfig) -> Path:
    """Make a run of a published checkpoint, at update 0, and return its folder.

    Raises:
        ValueError: if the preset is unknown, has no data, or the checkpoint is none or not of the preset's world.
    """
    known = presets()
    if config.preset not in known:
        raise ValueError(f"no preset {config.preset!r}; there are {', '.join(known)}")
    run = _on_data(known[config.preset][1], config.data)
    weights = read_published(config.from_reference)  # before the world, whose data may take hours to decode
    world = make_world(run, "train", probing=True)
    (motion_dim,), channels = world.motion_space.shape, world.glimpse_space.shape[2]
    model = published_model(weights, world.motion_kind, motion_dim, channels)
    things, views = _CALIBRATED_ON
    rng = np.random.default_rng([run.seed, 3])
    drawn = make_view_set(world, balanced_items(world, things, rng), views, rng, fixations=own_fixations(run))
    _calibrate_targets(model, drawn.views)
    sizes = {f.name: getattr(model.config, f.name) for f in fields(ModelOptions) if hasattr(model.config, f.name)}
    run = replace(
        run,
        from_reference=str(config.from_reference),
        folder=config.folder,
        model=replace(run.model, **sizes),
        device="cpu",
    )
    folder = new_run_folder(Path(config.folder), f"{config.preset}-reference", run.seed)
    save_config(run, folder)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    save_checkpoint(folder / "checkpoints", 0, {"model": weights}, {"steps": 0, "model": model.config.to_dict()})
    return folder


def _on_data(run: TrainConfig, data: str | None) -> TrainConfig:
    if data is None:
        return run
    if run.world == "stored-views":
        return replace(run, stored=replace(run.stored, source=data))
    if run.world == "saccade":
        return replace(run, saccade=replace(run.saccade, images=data))
    raise ValueError("--data has no effect with a preset whose world is rendered: leave it out, or use paper-3diebench")


@torch.no_grad()
def _calibrate_targets(model: SeqJEPA, views: np.ndarray, *, batch: int = 64) -> None:
    """Show a model in eval mode the targets (N, V, H, W, C) that its statistics have yet to see."""
    for start in range(0, len(views), batch):
        model.target_statistics.observe(model.encode_target(normalize_views(views[start : start + batch])))
