"""`glimpseworld train PRESET`, from the command line to the closing table."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro

from .config import TrainConfig, presets
from .device import checked_device
from .evaluate import EvaluateConfig, evaluate
from .report import evaluation_table
from .run_folder import load_config, new_run_folder, save_config
from .train import train


@dataclass(frozen=True)
class ResumeConfig:
    """Go on with an interrupted run, as if it had never stopped."""

    resume: Path
    """The run's folder."""


def main(arguments: list[str]) -> None:
    """Run the command: `PRESET [options]` or `--resume RUN`."""
    if any(a == "--resume" or a.startswith("--resume=") for a in arguments):
        folder = tyro.cli(ResumeConfig, args=arguments, prog="glimpseworld train").resume
        config, name, resume = load_config(folder), folder.name, True
    else:
        name, config = _parse(arguments)
        checked_device(config.device)
        folder, resume = new_run_folder(Path(config.folder), name, config.seed), False
        save_config(config, folder)
    print(f"run {folder}: {config.learner.total_steps} updates, {config.world} world. Resume with --resume {folder}")
    try:
        train(config, folder, resume=resume)
    except BaseException as error:
        begun = (folder / "metrics.csv").exists()
        if not resume and not begun:  # so that nothing is lost
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt):
            way_on = (
                f"go on with: glimpseworld train --resume {folder}" if begun else "it had not begun, so nothing is kept"
            )
            raise KeyboardInterrupt(way_on) from None
        raise
    if config.final_evaluation != "none":
        print("\nevaluating on held-out things")
        results = evaluate(folder, EvaluateConfig(effort=config.final_evaluation, device=config.device))
        print(evaluation_table(results))
    print(_closing(folder, config))


def _parse(arguments: list[str]) -> tuple[str, TrainConfig]:
    """Return the preset's name and the settings.

    Raises:
        ValueError: for an unknown preset.
    """
    known = presets()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in known:
        raise ValueError(f"no preset {arguments[0]!r}; there are {', '.join(known)}")
    description = (
        "Train seq-JEPA, or a baseline, online. Start from a preset and override what you like; or --resume RUN."
    )
    config = tyro.extras.overridable_config_cli(
        known, prog="glimpseworld train", description=description, args=arguments, config=(tyro.conf.FlagConversionOff,)
    )
    return arguments[0], config


def _closing(folder: Path, config: TrainConfig) -> str:
    env = {
        "rotation": "GlimpseWorld/ObjectRotation-v0",
        "saccade": "GlimpseWorld/Saccade-v0",
        "stored-views": f"GlimpseWorld/StoredViews-v0 --env-options source {config.stored.source}",
    }[config.world]
    return "\n".join(
        [
            "",
            f"run      {folder}",
            *([] if config.final_evaluation == "none" else [f"figure   {folder / 'results.png'}"]),
            f"metrics  {folder / 'metrics.csv'}",
            "",
            "next:",
            f"  glimpseworld evaluate {folder}          # more samples, all controls",
            f"  glimpseworld rollout --env {env} --record episode.mp4",
            f"  tensorboard --logdir {config.folder}",
        ]
    )
