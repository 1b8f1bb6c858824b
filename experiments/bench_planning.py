"""`glimpseworld bench planning`: how long a decision by the planner takes, and how much of that is the planner's own.

The bare work is what no planner can do without: the aggregate of every context, once, and the predictions of all
candidates in all rounds, as many at a time as the planner asks for. Both take turns, as in `bench envs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch

from ..agents.context import Context
from ..agents.motor import Motor
from ..agents.plan_objectives import ReachEmbedding
from ..agents.planner import PREDICTED_AT_ONCE, Planner, PlannerConfig
from ..world_model.motion_tensors import rotation_from_vector
from ..world_model.seq_jepa import SeqJEPA, SeqJEPAConfig
from .config import presets
from .timing import Row, compare

VIEWS = 3


def planning_rows(seconds: float, num_envs: int = 64, config: PlannerConfig | None = None) -> list[Row]:
    """Measure a decision for `num_envs` rows with a model of the sizes that runs have unless told otherwise."""
    config = config or PlannerConfig(candidates=256, horizon=4, iterations=3)
    model = small_model()
    context = seen_context(model, num_envs)
    goals = torch.randn(num_envs, model.config.z_dim, generator=torch.Generator().manual_seed(1))
    planner = Planner(model, Motor("rotation", (np.pi / 4,)), ReachEmbedding(goals), config)
    draws = torch.Generator().manual_seed(2)
    rate, _, ratio = compare(lambda: planner.plan(context, draws), bare_calls(model, context, config), seconds)
    work = f"plan {num_envs} envs x {config.candidates} x horizon {config.horizon} x {config.iterations} rounds"
    own = 1 / ratio - 1
    return [
        Row(work, "s", 1.0, ours=1 / rate, measured=1 / rate, at_most=True),
        Row("the planner's own time, in that of its model's bare calls", "", 0.1, ours=own, measured=own, at_most=True),
    ]


def small_model() -> SeqJEPA:
    """Return an untrained seq-JEPA of the sizes of preset quick, on 32 x 32 views of rotating objects."""
    options = presets()["quick"][1].model
    own = {field.name for field in fields(SeqJEPAConfig)}
    sizes = {field.name: getattr(options, field.name) for field in fields(options) if field.name in own}
    torch.manual_seed(0)
    return SeqJEPA(SeqJEPAConfig(**sizes, motion_kind="rotation")).eval()


def seen_context(model: SeqJEPA, num_envs: int) -> Context:
    """Return a context of `VIEWS` views of noise in each row."""
    rng, context = np.random.default_rng(0), Context(model, "rotation", num_envs)
    for step in range(VIEWS):
        motion = np.tile(np.array([0.6, 0, 0, 0.8], np.float32), (num_envs, 1))
        glimpse = rng.integers(0, 256, (num_envs, 32, 32, 3), dtype=np.uint8)
        context.observe(glimpse, motion, np.full(num_envs, step == 0))
    return context


def bare_calls(model: SeqJEPA, context: Context, config: PlannerConfig) -> Callable[[], None]:
    """Return the calls of the model that a decision takes, on motions made beforehand."""
    z, motions = context.recent(torch.arange(context.num_envs), VIEWS)
    futures = config.candidates * config.horizon
    draws = torch.randn(context.num_envs, futures, 3, generator=torch.Generator().manual_seed(3))
    ahead = rotation_from_vector(draws)
    rows = max(1, PREDICTED_AT_ONCE // futures)
    parts = [slice(i, i + rows) for i in range(0, context.num_envs, rows)]

    @torch.no_grad()
    def work() -> None:
        z_agg = model.aggregate(z, motions)
        for _ in range(config.iterations):
            for part in parts:
                model.predict(z_agg[part], ahead[part])

    return work
