"""Where a run writes its numbers: TensorBoard, `metrics.csv` and the terminal.

Columns of `metrics.csv`, which are also the TensorBoard tags; a cell is empty where nothing was measured at that step:

| column | meaning |
| --- | --- |
| step | updates so far (the x axis in TensorBoard) |
| glimpses | glimpses seen so far |
| seconds | training time so far, over all resumptions |
| core_seconds | CPU time of acting and learning so far, over all threads and resumptions, without probes |
| online_views, target_views | views that the online and the target encoder have encoded in training so far |
| glimpses_per_second | since the row before, acting and learning together |
| loss | the objective on the last batch; it does not tell how good the model is |
| loss/cosine, loss/variance, loss/covariance, loss/contrast, loss/instance, loss/recall | its terms, unweighted |
| loss/invariance, loss/equivariance | of a baseline: what its branches compare, without and with the motion |
| loss/projected_variance, loss/projected_covariance | of a baseline: the terms on its projections |
| loss/inverse, loss/trajectory, loss/label | of a baseline: the motion read from two z, straightness of z, the class |
| learning_rate, tau | of the optimiser and the target encoder |
| gradient_norm | before clipping |
| z_std | mean over dimensions of the std of z in the batch |
| probe/relative_r2 | R2 of the motion between two views, read from their embeddings, validation objects or images |
| probe/top1_z_agg | class accuracy from z_agg over three views, on the same |
| probe/rankme | effective rank of z (Garrido et al., 2023) |
| probe/z_std | mean over dimensions of the std of z over the validation views |
"""

from __future__ import annotations

import contextlib
import csv
import threading
import warnings
from pathlib import Path

from ..world_model.checkpoint import CheckpointError, saving, write_csv

COLUMNS = (
    "step",
    "glimpses",
    "seconds",
    "core_seconds",
    "online_views",
    "target_views",
    "glimpses_per_second",
    "loss",
    "loss/cosine",
    "loss/variance",
    "loss/covariance",
    "loss/contrast",
    "loss/recall",
    "learning_rate",
    "tau",
    "gradient_norm",
    "z_std",
    "probe/relative_r2",
    "probe/top1_z_agg",
    "probe/rankme",
    "probe/z_std",
    "loss/invariance",
    "loss/equivariance",
    "loss/projected_variance",
    "loss/projected_covariance",
    "loss/trajectory",
    "loss/inverse",
    "loss/label",
    "loss/instance",
)


class RunLog:
    """Appends rows of metrics to a run's folder.

    Args:
        folder: the run's folder.
        resume_step: rows after this step, left by an interrupted stretch, are dropped; 0 for a fresh run.
    """

    def __init__(self, folder: Path, *, resume_step: int = 0) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._path = folder / "metrics.csv"
        self._keep_until(resume_step)
        self._hook = threading.excepthook
        threading.excepthook = self._thread_failed
        self._writer: SummaryWriter | None = SummaryWriter(
            str(folder), purge_step=resume_step + 1 if resume_step else None
        )

    def write(self, row: dict[str, float]) -> None:
        """Append one row; its keys are among `COLUMNS` and include "step".

        Raises:
            CheckpointError: if it cannot be written. TensorBoard's copy is given up instead, with a warning.
        """
        unknown = set(row) - set(COLUMNS)
        assert not unknown, f"undocumented metrics {unknown}"
        with saving(str(self._path), "Free some space, then --resume"), self._path.open("a", newline="") as file:
            csv.writer(file).writerow([_cell(row.get(name)) for name in COLUMNS])
        if self._writer is None:
            return
        try:
            for name, value in row.items():
                if name != "step":
                    self._writer.add_scalar(name, value, int(row["step"]))
        except OSError as error:
            self._writer = None
            warnings.warn(f"TensorBoard's file is given up: {error}; metrics.csv goes on", stacklevel=2)

    def close(self) -> None:
        """Flush TensorBoard's file; a failure there loses nothing that `metrics.csv` has not."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
        threading.excepthook = self._hook

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """Pass over TensorBoard's own thread when a disk is full: `write` meets the same disk, and says it clearly."""
        ours = type(failure.thread).__module__.startswith("tensorboard.")
        if not (ours and issubclass(failure.exc_type, OSError)):
            self._hook(failure)

    def _keep_until(self, step: int) -> None:
        rows: list[list[str]] = []
        if self._path.exists():
            with self._path.open(newline="") as file:
                complete = [row for row in csv.DictReader(file) if None not in row.values()]
                # By name: a run begun by a version with fewer columns goes on with the present ones.
                rows = [[row.get(name, "") for name in COLUMNS] for row in complete if int(row["step"]) <= step]
        try:
            write_csv(self._path, [list(COLUMNS), *rows])
        except OSError as error:
            raise CheckpointError(f"cannot write {self._path}: {error}") from error


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a `metrics.csv`, without their empty cells."""
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
