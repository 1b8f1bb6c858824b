"""Policies by reinforcement learning in the control benchmark: beside its other agents, on the same episodes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_control import TINY, made
from test_policies import TINY as HOMING

from glimpseworld.experiments.control.cells import ControlConfig, load_runs, planned_cells
from glimpseworld.experiments.control.command import control
from glimpseworld.experiments.control.controllers import CONTROLLERS
from glimpseworld.experiments.control.episodes import play_episodes
from glimpseworld.experiments.control.policies import load_policies
from glimpseworld.experiments.control.tasks import TASKS, Playground
from glimpseworld.experiments.policy.policies import train_policy
from glimpseworld.experiments.policy.store import load_policy
from glimpseworld.world_model.checkpoint import CheckpointError

CLASSIFY = replace(
    HOMING,
    env="GlimpseWorld/ObjectClassify-v0",
    env_options={"size": "16", "members_per_family": "2", "shadows": "false", "max_episode_steps": "4"},
    steps=64,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run whose world has the policy's size, and policies on pixels and on its model."""
    root = tmp_path_factory.mktemp("kept")
    run = made(root / "run", TINY)
    pixels = train_policy(CLASSIFY, root / "eyes")
    z = train_policy(replace(CLASSIFY, on="z", world_model=str(run)), root / "mind")
    return {"run": run, "eyes": pixels, "mind": z, "home": train_policy(replace(HOMING, steps=64), root / "home")}


def config_of(tmp_path, kept, *policies, **options):
    given = {"task": ("rotation-classify",), "agent": ("random",), "episodes": 6, "rows": 4}
    chosen = {**given, **options}
    return ControlConfig(
        world_model=(kept["run"],), policy=tuple(kept[name] for name in policies), out=tmp_path / "out", **chosen
    )


def test_policies_play_the_episodes_of_the_other_agents(tmp_path, kept, capsys):
    config = config_of(tmp_path, kept, "eyes", "mind")
    control(config)
    told = capsys.readouterr().out
    assert sorted(path.name for path in (config.folder / "cells").iterdir()) == [
        "rotation-classify--ppo-pixels--eyes.json",
        "rotation-classify--ppo-z--mind.json",
        "rotation-classify--random.json",
    ]
    assert "| ppo-pixels |" in told and "- ppo-z: a policy that PPO trained on z, in the task's environment" in told
    envs = Playground(TASKS["rotation-classify"], TINY, 4).envs("test")
    alone = play_episodes(envs, load_policy(kept["mind"], envs), 4, 6, config.seed)
    cell = json.loads((config.folder / "cells" / "rotation-classify--ppo-z--mind.json").read_text())
    np.testing.assert_allclose(cell["episodes"]["reward"], alone.to_dict()["reward"])


def test_a_policy_acts_in_the_tasks_of_its_environment_alone(tmp_path, kept):
    config = config_of(tmp_path, kept, task=("rotation-classify", "rotation-homing-4"))
    policies = load_policies([kept["eyes"]])
    cells = planned_cells(config, load_runs(config), policies)
    assert [cell.name for cell in cells if CONTROLLERS[cell.agent].needs_policy] == [
        "rotation-classify--ppo-pixels--eyes"
    ]


@pytest.mark.parametrize(
    ("policies", "options", "message"),
    [
        ((), {"agent": ("ppo-z",)}, r"'ppo-z' cannot act in task 'rotation-classify': it is a policy .* with --policy"),
        (
            ("home",),
            {},
            r"home acts in GlimpseWorld/SaccadeHoming-v0, and none of the tasks is there: .*ObjectClassify",
        ),
        (("eyes", "eyes"), {}, r"two runs are called 'eyes'"),
    ],
)
def test_what_cannot_act_is_one_clear_error(tmp_path, kept, policies, options, message):
    with pytest.raises(ValueError, match=message):
        control(config_of(tmp_path, kept, *policies, **options))
    assert not (tmp_path / "out").exists()


def test_what_is_no_policy_is_said(kept):
    with pytest.raises(CheckpointError, match="is no policy"):
        load_policies([kept["run"].parent])


def test_a_policy_of_other_views_fails_alone_naming_both_sides(tmp_path, kept, capsys):
    wider = made(tmp_path / "wider", replace(TINY, rotation=replace(TINY.rotation, size=24)))
    with pytest.raises(SystemExit):
        control(config_of(tmp_path, {**kept, "run": wider}, "eyes"))
    told = capsys.readouterr()
    assert "was trained on observations {glimpse" in told.err and "and this environment has" in told.err
    assert "| random |" in told.out
