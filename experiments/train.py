"""`glimpseworld train`: an agent acts, a model learns from what it sees, and both go on in turns."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..world_model.checkpoint import CheckpointError, latest_checkpoint
from .config import TrainConfig
from .interrupt import held_back
from .report import training_bar
from .run_folder import alone_in, refuse_edited
from .run_log import RunLog
from .trainer import Trainer


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
        refuse_edited(config, folder, checkpoint)
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
