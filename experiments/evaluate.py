"""`glimpseworld evaluate RUN ...`: what runs' models have learned, on held-out things, next to an untrained one.

Keys of `results.json`:

- `run`, `step`: the folder, and the update the model is from; `config`: the run's settings. Scores on the validation
  split go to `results-validation.json` and `.png` instead, those of another condition than the run's own to files named
  by it, such as `results-ood.json`.
- `split`, `seed`, `commit`, `version`: the split scored on, the evaluation's seed, the code's git commit (or null)
  and version; `seconds`: how long the evaluation took.
- `rotation`: the orientations that held-out views are in; `fixations`: where the fitted and the held-out views fixate,
  "saliency" (scanpaths by the run's priority map: saliency and inhibition of return) or "uniform"; null where a world
  has none.
- `budget`: what the model has cost: `steps`, `glimpses`, `seconds` and, as in `run_log`, `core_seconds`, `online_views`
  and `target_views`; null for a run of a version that counted none.
- `sizes`: things and views of the fitted and the held-out view sets, samples of the probes, classes.
- `trained`, `untrained`: the measures below, of the run's model and of one with fresh weights, drawn by the run's
  seed, and calibrated BatchNorms.
- `controls`: measures that need no model, and the floor that pixels give: `pixels_top1_z`, `pixels_relative_r2` and
  `pixels_individual_r2`, the measures of those names with the pixels of a view, averaged over areas to 8 x 8 at most,
  in place of its z.

Each measure is `{"value", "low", "high"}` with a 95 % bootstrap interval over held-out things:

- `top1_z`, `top1_z_agg_M`: class accuracy of a linear probe on one z, and on z_agg over M views; `top1_z_mean_M`: on
  the mean of M embeddings, which is what pooling alone gives. A baseline has no aggregator: its z_agg is that mean.
- `relative_r2`, `individual_r2`: R2 of the motion between two views from their z, and of the pose from one z; with
  `median_error` in degrees (rotations) or image units (saccades); where a motion tells colours too, `colour` is the R2
  of floor hue and light hue, and the others are of the rotation.
- `predictor_mrr`, `predictor_hit_at_1`, `predictor_hit_at_5`: rank of the true view among all views of the thing, by
  distance to the prediction from three views; with `chance`, which depends on how many views there are.
- `motion_rank`: median rank of the motion that was made among 1,000, by how near the prediction from three views and
  that motion is to what is then seen; with `chance`.
- `view_return_V`: after V views a motion leads back to an earlier one; share of predictions nearest to that one, with
  `chance`. Its controls: `view_return_V_last_view`, from the last view alone, which needs no memory of the path;
  `view_return_V_no_motions`, with the motions of another sequence; `view_return_V_other_path`, with the motion back
  alone the true one, so that places must be recognised by sight. Only the excess over all is path integration.
  `recall_V` and its controls: the same by the path memory, of a model that has one for paths of V views.
- `path_r2_M`: R2 of the path over M motions from [z_agg; last motion], to be read against its controls:
  `path_r2_M_no_motions` and `path_r2_M_no_vision` with embedded motions, or z, set to zero, and under `controls`
  `path_r2_M_raw_motions` from the raw motions alone. Of seq-JEPA only.
- `rankme`, `z_std`: plain numbers, the effective rank of z and the mean std of its dimensions.

`predictor_*`, `motion_rank` and `view_return_*` are missing for methods that predict nothing from a motion (BYOL,
SimCLR, VICReg, supervised). For the others predictions are scored where the method compares them: EquiMod's and SIE's
with projections.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from subprocess import DEVNULL, CalledProcessError, check_output
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
import tyro
from tqdm import tqdm

from ..envs.object_rotation import RotationRange
from ..envs.world import World
from ..world_model.build import build_model, model_settings
from ..world_model.checkpoint import check_writable, saving, write_json
from ..world_model.probes import feature_std, rankme
from ..world_model.protocol import WorldModel
from ..world_model.seq_jepa import SeqJEPA
from .config import Effort, TrainConfig, check_seed, make_world
from .measure import (
    Material,
    ReturnControl,
    Subject,
    individual_r2,
    motion_rank,
    path_decoding,
    path_from_motions,
    pixels,
    predictor_quality,
    relative_r2,
    top1_from_context,
    view_return,
)
from .reference_run import ReferenceConfig, make_reference_run
from .report import evaluation_figure, evaluation_table, kept_paths
from .run_folder import load_budget, load_config, load_model, require_checkpoint
from .view_sets import Fixations, ViewSet, balanced_items, calibrate_untrained, make_view_set, own_fixations

Measures = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    fit_things: int
    test_things: int
    fit_views: int
    test_views: int
    fit_samples: int
    test_samples: int
    contexts: tuple[int, ...]
    path_lengths: tuple[int, ...]
    return_views: tuple[int, ...]


PLANS: dict[Effort, Plan] = {
    "brief": Plan(960, 480, 10, 12, 10_000, 4_800, (1, 3, 5), (), (4,)),
    "quick": Plan(960, 480, 10, 12, 10_000, 4_800, (1, 3, 5), (2, 4), (3, 4, 6)),
    "full": Plan(1_920, 480, 12, 20, 20_000, 9_600, (1, 2, 3, 5, 7), (1, 2, 3, 4, 6), (3, 4, 6)),
}


@dataclass(frozen=True)
class EvaluateConfig:
    """How a run's newest model is measured on held-out objects or images."""

    split: Literal["validation", "test"] = "test"
    """Held-out things to score on; choose settings on "validation", report "test"."""
    effort: Effort = "full"
    """"quick" has fewer samples and path lengths; "brief" no decoded paths, and returns after four views alone."""
    rotation: RotationRange | None = None
    """Orientations of the held-out views, such as "ood"; probes are fitted on the run's own. None: those too."""
    fixations: Fixations | None = None
    """Where views fixate: "saliency", by the run's priority map, or "uniform". None: as the run's agent does."""
    seed: int = 0
    """Of the drawn views, pairs and contexts, and of the probes."""
    device: str = "cpu"
    """Where to compute."""

    def __post_init__(self) -> None:
        check_seed(self.seed)


@dataclass(frozen=True)
class EvaluateCall(EvaluateConfig):
    """What the command is asked for."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders that `glimpseworld train` made."""
    json: bool = False
    """Print results.json instead of the table; of several runs a list of them."""


def evaluate(folder: Path, config: EvaluateConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Measure the model of the run in `folder`, write `results.json` and `results.png` into it; return the results."""
    began = time.monotonic()
    run = load_config(folder)
    paths = json_path, figure_path = result_paths(folder, config.split, condition_of(config, run))
    check_writable(*paths)
    model, step = load_model(folder, config.device)
    plan = PLANS[config.effort]
    material = make_material(run, config, plan)
    torch.manual_seed(run.seed + 1_000_000 * (config.seed + 1))  # the untrained weights, others for each run
    untrained = build_model(model_settings(model)).to(config.device)
    calibrate_untrained(untrained, material.fit)
    results: dict[str, Any] = {
        "run": str(folder),
        "step": step,
        "budget": load_budget(folder),
        "config": asdict(run),
        "split": config.split,
        "effort": config.effort,
        "rotation": config.rotation or (run.rotation.rotation if run.world == "rotation" else None),
        "fixations": config.fixations or own_fixations(run),
        "seed": config.seed,
        "commit": _commit(),
        "version": version("glimpseworld"),
        "sizes": {
            "fit_things": len(material.fit.labels),
            "test_things": len(material.test.labels),
            "fit_views": plan.fit_views,
            "test_views": plan.test_views,
            "fit_samples": plan.fit_samples,
            "test_samples": plan.test_samples,
            "classes": material.test.num_classes,
        },
    }
    names = list(_measures(None, model, material, plan))
    controls = _controls(material, plan)
    with tqdm(total=2 * len(names) + len(controls), desc="evaluating", leave=False, disable=quiet or None) as bar:
        for who, subject_model in (("trained", model), ("untrained", untrained)):
            subject = material.subject(subject_model)
            results[who] = _run(dict(_measures(subject, subject_model, material, plan)), bar)
            z = subject.test.online.flatten(0, 1).numpy()
            results[who] |= {"rankme": rankme(z), "z_std": feature_std(z)}
        results["controls"] = _run(controls, bar)
    results["seconds"] = round(time.monotonic() - began, 1)
    with saving(f"the results to {folder}"):
        write_json(json_path, results)
        evaluation_figure(results, figure_path)
    return results


def result_paths(run: Path, split: str, condition: str = "") -> tuple[Path, Path]:
    """Return where the results of a run on `split`, under a condition, are kept: JSON and figure."""
    return kept_paths(run, "results", split, condition)


def condition_of(config: EvaluateConfig, run: TrainConfig) -> str:
    """Return the name of the condition in which `run` is evaluated, empty if it is that which it was trained in.

    Raises:
        ValueError: if the run's world knows no such condition.
    """
    if config.rotation is not None and run.world != "rotation":
        raise ValueError(f"--rotation is of the world of rotations; this run's is {run.world}: leave it out")
    if config.fixations is not None and run.world != "saccade":
        raise ValueError(f"--fixations is of the world of saccades; this run's is {run.world}: leave it out")
    own = (run.rotation.rotation, own_fixations(run))
    wanted = (config.rotation, config.fixations)
    return "-".join(name for name, mine in zip(wanted, own, strict=True) if name is not None and name != mine)


def make_material(run: TrainConfig, config: EvaluateConfig, plan: Plan) -> Material:
    """Draw the view sets that `run` is evaluated on."""
    rng = np.random.default_rng([config.seed, 1])
    scored = run
    if config.rotation is not None:
        scored = replace(run, rotation=replace(run.rotation, rotation=config.rotation))
    fit_world, test_world = make_world(run, "train", probing=True), make_world(scored, config.split, probing=True)
    fixations = config.fixations or own_fixations(run)

    def views(world: World, things: int, count: int) -> ViewSet:
        return make_view_set(world, balanced_items(world, things, rng), count, rng, fixations=fixations)

    return Material(
        fit=views(fit_world, plan.fit_things, plan.fit_views),
        test=views(test_world, plan.test_things, plan.test_views),
        seed=config.seed,
        fit_samples=plan.fit_samples,
        test_samples=plan.test_samples,
    )


def main(arguments: list[str]) -> None:
    """Run the command: `RUN [RUN ...] [options]` or `--from-reference CHECKPOINT --preset PRESET [options]`."""
    reference = None
    if any(a == "--from-reference" or a.startswith("--from-reference=") for a in arguments):
        reference, rest = tyro.cli(
            ReferenceConfig, args=arguments, prog="glimpseworld evaluate", return_unknown_args=True
        )
        arguments = [reference.folder, *rest]
    call = tyro.cli(
        EvaluateCall,
        args=arguments,
        prog="glimpseworld evaluate",
        description="What models have learned, on held-out things. RUNS are folders that `glimpseworld train` made; or "
        "--from-reference CHECKPOINT --preset PRESET [--data PATH] makes one of a published checkpoint.",
    )
    if reference is not None:
        if len(call.runs) > 1:
            raise ValueError("--from-reference makes the run that is evaluated: name no other beside it")
        call = replace(call, runs=(make_reference_run(reference),))
        print(f"run {call.runs[0]}", file=sys.stderr)
    if not call.runs:
        raise ValueError("name at least one run: a folder that `glimpseworld train` made")
    conditions = [condition_of(call, load_config(folder)) for folder in call.runs]
    for folder in call.runs:
        require_checkpoint(folder)  # of all, before any of them takes time
    found = []
    for folder, condition in zip(call.runs, conditions, strict=True):
        found.append(evaluate(folder, call))
        if not call.json:
            print(f"{folder}\n\n{evaluation_table(found[-1])}")
            print("\nresults  {}\nfigure   {}\n".format(*result_paths(folder, call.split, condition)))
    if call.json:
        json.dump(found if len(found) > 1 else found[0], sys.stdout, indent=2)
        print()
    elif len(found) > 1 and call.split == "test" and not any(conditions):  # what a summary reads
        print("seeds pooled: glimpseworld summary " + " ".join(map(str, call.runs)))


def _measures(
    subject: Subject | None, model: WorldModel, material: Material, plan: Plan
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield name and computation of every measure that `model` has, in the order of the page above."""

    def bound(measure: Callable[..., Any], *args: Any, **options: Any) -> Callable[[], Any]:
        return lambda: measure(subject, *args, **options)

    yield "top1_z", bound(top1_from_context, material, 1, aggregate=False)
    for m in plan.contexts:
        yield f"top1_z_agg_{m}", bound(top1_from_context, material, m)
    m = plan.contexts[-1]
    yield f"top1_z_mean_{m}", bound(top1_from_context, material, m, aggregate=False)
    yield "relative_r2", bound(relative_r2, material)
    yield "individual_r2", bound(individual_r2, material)
    if model.predicts:
        yield "predictor", bound(predictor_quality, material, 3)
        yield "motion_rank", bound(motion_rank, material, 3)
    longest = model.memory.longest if isinstance(model, SeqJEPA) and model.memory is not None else 0
    for v in plan.return_views:
        for name, asked, recall in (("view_return", model.predicts, False), ("recall", v <= longest, True)):
            if asked:
                yield f"{name}_{v}", bound(view_return, material, v, recall=recall)
                for control in get_args(ReturnControl):
                    yield f"{name}_{v}_{control}", bound(view_return, material, v, control=control, recall=recall)
    conditioned = isinstance(model, SeqJEPA) and model.motion_embedding is not None
    for m in plan.path_lengths if conditioned else ():
        yield f"path_r2_{m}", bound(path_decoding, material, m)
        yield f"path_r2_{m}_no_motions", bound(path_decoding, material, m, ablate="motions")
        yield f"path_r2_{m}_no_vision", bound(path_decoding, material, m, ablate="vision")


def _controls(material: Material, plan: Plan) -> dict[str, Callable[[], Any]]:
    """Return name and computation of the measures that need no model."""
    floor = pixels(material)
    found: dict[str, Callable[[], Any]] = {
        "pixels_top1_z": lambda: top1_from_context(floor, material, 1, aggregate=False),
        "pixels_relative_r2": lambda: relative_r2(floor, material),
        "pixels_individual_r2": lambda: individual_r2(floor, material),
    }
    for length in plan.path_lengths:
        found[f"path_r2_{length}_raw_motions"] = lambda length=length: path_from_motions(material, length)
    return found


def _run(measures: dict[str, Callable[[], Any]], bar: Any) -> Measures:
    found: Measures = {}
    for name, measure in measures.items():
        scores = measure()
        if name == "predictor":
            found |= {f"predictor_{key}": value for key, value in scores.items()}
        else:
            found[name] = scores
        bar.update(1)
    return found


def _commit() -> str | None:
    """Return the git commit of the code, or None where git does not track it (an installed copy)."""
    here = Path(__file__)
    try:
        check_output(["git", "ls-files", "--error-unmatch", here.name], cwd=here.parent, stderr=DEVNULL)
        return check_output(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, stderr=DEVNULL, text=True).strip()
    except (OSError, CalledProcessError):
        return None
