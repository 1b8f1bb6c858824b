"""The control benchmark: paired episodes, scores by hand-worked trajectories, resuming, and clear errors."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from glimpseworld.agents.scripted import RandomAgent
from glimpseworld.experiments.config import (
    ModelOptions,
    RotationOptions,
    SaccadeOptions,
    TrainConfig,
    make_world,
    model_config,
)
from glimpseworld.experiments.control import episodes as control_episodes
from glimpseworld.experiments.control.cells import ControlConfig, ModelRun, load_runs, planned_cells, scale_notes
from glimpseworld.experiments.control.command import Players, control, main
from glimpseworld.experiments.control.controllers import CONTROLLERS, candidate_views, choose_on_validation
from glimpseworld.experiments.control.episodes import Episodes, play_episodes
from glimpseworld.experiments.control.report import control_tables
from glimpseworld.experiments.control.scores import differences, pooled, scores_of
from glimpseworld.experiments.control.settings import ControlSetting
from glimpseworld.experiments.control.tasks import TASKS, Playground
from glimpseworld.experiments.run_folder import load_model, save_config
from glimpseworld.experiments.worlds import motor_of
from glimpseworld.world_model.build import model_settings, new_model
from glimpseworld.world_model.checkpoint import save_checkpoint

TINY = TrainConfig(
    rotation=RotationOptions(size=16, members_per_family=2, shadows=False),
    model=ModelOptions(z_dim=16, motion_embedding=8, layers=1, heads=2, predictor_hidden=16),
)
SACCADES = replace(TINY, world="saccade", rotation=RotationOptions())


pytestmark = pytest.mark.usefixtures("one_thread")


def made(folder, config):
    folder.mkdir(parents=True)
    save_config(config, folder)
    torch.manual_seed(config.seed)
    model = new_model(model_config(config, make_world(config, "validation")))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    save_checkpoint(folder / "checkpoints", 0, {"model": weights}, {"model": model_settings(model), "steps": 0})
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of turning objects of one world, and one of another size; their models have learned nothing yet."""
    root = tmp_path_factory.mktemp("runs")
    small = replace(TINY, rotation=replace(TINY.rotation, size=24))
    named = {"a": TINY, "b": replace(TINY, seed=1), "other-size": small}
    return {name: made(root / name, config) for name, config in named.items()}


def setting(name, config=TINY, *, rows=8, split="test", model=None):
    return ControlSetting(Playground(TASKS[name], config, rows), split, model, 0)


def played(where, agent="random", episodes=12, seed=0):
    return play_episodes(where.envs, CONTROLLERS[agent].make(where), where.steps, episodes, seed)


@pytest.mark.parametrize("name", ["reorient", "rotation-homing-2", "search-glimpse", "saccade-homing-4-noise"])
def test_the_oracle_solves_every_episode_and_random_motions_hardly_any(name):
    where = setting(name, TINY if TASKS[name].world == "rotation" else SACCADES)
    oracle, random = played(where, "oracle"), played(where)
    least = 0.7 if "noise" in name else 1.0
    assert oracle.success[:, -1].mean() >= least
    assert random.success[:, -1].mean() <= 0.25
    assert oracle.fingerprint == random.fingerprint


def test_every_agent_and_block_size_gets_the_same_episodes_and_every_seed_others():
    """Starting distances tell episodes apart; 12 of them in blocks of 8 rows and in one of 12."""
    found = played(setting("reorient"), "oracle")
    other_agent, wider = played(setting("reorient")), played(setting("reorient", rows=12), "oracle")
    assert (found.distance[:, 0] == other_agent.distance[:, 0]).all()
    assert (found.distance == wider.distance).all()
    assert len(set(found.distance[:, 0])) == 12
    another = played(setting("reorient"), "oracle", seed=1)
    assert another.fingerprint != found.fingerprint
    assert not set(another.distance[:, 0]) & set(found.distance[:, 0])
    assert found.distance[:, 0].min() >= 30 and found.distance[:, 0].max() <= 120


def test_a_decision_is_timed_for_each_row_and_imposed_motions_are_no_success(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(control_episodes.time, "perf_counter", lambda: now[0])

    class Slow(RandomAgent):
        def act(self, observation, info):
            now[0] += 0.004
            return super().act(observation, info)

    where = setting("rotation-homing-2", rows=4)
    found = play_episodes(where.envs, Slow(4, 3, np.random.default_rng(0)), where.steps, 6, 0)
    assert found.decision_ms == pytest.approx(1.0)  # 4 ms for 4 rows
    assert not found.success[:, :2].any()


def worked(success, distance, reward=None, fingerprint="same"):
    success, distance = np.array(success, dtype=bool), np.array(distance, dtype=float)
    return Episodes(success, distance, np.array(reward or np.zeros(success.shape)), fingerprint, 0.5)


def test_scores_of_a_hand_worked_set_of_episodes():
    """Four episodes of three motions: solved and kept, solved and lost, never solved but near, never near."""
    episodes = worked(
        [[0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[50, 40, 10, 5], [50, 10, 40, 60], [50, 40, 30, 30], [50, 60, 70, 80]],
        [[0, 1, 1], [1, 0, 0], [-1, 0, 0], [0, 0, 0]],
    )
    scores = scores_of(TASKS["reorient"], episodes)
    assert {name: score["value"] for name, score in scores.items()} == {
        "success": 0.25,
        "any": 0.5,
        "within_30": 0.5,
        "steps": 1.5,
        "return": 0.5,
        "final_distance": 45.0,
        "decision_ms": 0.5,
    }
    assert (scores["success"]["low"], scores["success"]["high"]) == pytest.approx((0.0456, 0.6994), abs=1e-3)  # Wilson
    assert scores["final_distance"]["low"] >= 5 and scores["final_distance"]["high"] <= 80
    assert scores["return"]["low"] < 0.5 < scores["return"]["high"]


def test_steps_to_success_leave_imposed_motions_out_and_are_absent_without_success():
    solved = worked([[0, 0, 0, 1, 0, 0]], [[1] * 7])
    assert scores_of(TASKS["rotation-homing-2"], solved)["steps"]["value"] == 2
    assert "steps" not in scores_of(TASKS["reorient"], worked([[0, 0]], [[50, 50, 50]]))


def test_models_are_pooled_by_the_t_interval():
    """Shares 0.2, 0.3 and 0.4: mean 0.3 and half width t(0.975, 2) * 0.1 / sqrt(3) = 0.2484."""
    members = [{"success": {"value": v, "low": 0.0, "high": 1.0, "over": "episodes"}} for v in (0.2, 0.3, 0.4)]
    score = pooled(members)["success"]
    assert (score["value"], score["low"], score["high"]) == pytest.approx((0.3, 0.0516, 0.5484), abs=1e-4)
    assert score["over"] == "models"
    assert pooled(members[:1])["success"]["over"] == "episodes"


def test_differences_are_paired_by_episode():
    """The agent solves all that the reference solves and one of four more: the difference is 1/4, never below 0."""
    own = worked([[1], [1], [1], [0]], np.zeros((4, 2)))
    reference = worked([[1], [1], [0], [0]], np.zeros((4, 2)))
    found = differences([own], [reference])["success"]
    assert (found["value"], found["low"]) == (0.25, 0.0)
    assert found["high"] >= 0.5
    over = differences([own, reference], [reference])["success"]
    assert over["value"] == 0.125
    assert over["over_models"] == pytest.approx([0.125 - 1.588, 0.125 + 1.588], abs=1e-3)  # 0, 0.25; t(0.975, 1) 12.7
    with pytest.raises(ValueError, match="not played on the same episodes"):
        differences([own], [replace(reference, fingerprint="another")])


def test_choices_are_made_on_validation_things_alone():
    where = setting("reorient", rows=4)
    seen = []

    def spy(name):
        def make(given):
            seen.append(given.split)
            return CONTROLLERS[name].make(given)

        return make

    assert choose_on_validation(where, [spy("random"), spy("oracle"), spy("oracle")], episodes=8) == 1
    assert seen == ["validation"] * 3
    validation, test = where.on_validation().world.objects, where.world.objects
    assert validation is not test


def test_play_is_of_training_things():
    ground = Playground(TASKS["rotation-classify"], TINY, 2)
    play = ground.play()
    assert play is ground.play()
    families = len(ground.envs("test").world.class_names)
    assert play.views.shape == (2 * families, 8, 16, 16, 3)  # two members of each


def test_the_motor_of_a_world_commands_what_the_world_does():
    for where, unit in ((setting("reorient"), (np.pi / 4,)), (setting("reach", SACCADES), (1.0, 1.0))):
        motor, world = motor_of(where.world), where.world
        assert motor.unit == pytest.approx(unit)
        actions = np.random.default_rng(0).uniform(-1, 1, (6, motor.action_size))
        commanded = torch.from_numpy(world.commanded(actions))
        assert torch.allclose(motor.motions(torch.from_numpy(actions)).float(), commanded, atol=1e-6)
    zooming = replace(SACCADES.saccade, zoom=(0.5, 4.0), max_amplitude=0.5)
    assert motor_of(zooming.world("validation")).unit == pytest.approx((0.5, 0.5, 1.0))
    colours = replace(TINY.rotation, motion="rotation-colour")
    with pytest.raises(ValueError, match="no action commands a colour"):
        motor_of(colours.world("validation"))


@pytest.mark.parametrize("name", ["reorient", "reorient-free", "reach"])
def test_candidate_views_are_what_the_environment_shows_after_the_action(name):
    task, config = TASKS[name], SACCADES
    if name != "reach":  # the light of the next step is not known: fix it, or views differ by it
        task, config = replace(task, options={**task.options, "lighting": "fixed"}), TINY
    where = ControlSetting(Playground(task, config, 3), "test", None, 0)
    where.envs.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 2, where.action_size))
    offered = candidate_views(where.world, np.random.default_rng(1))(actions)
    observation, *_ = where.envs.step(actions[:, 1])
    assert np.abs(offered[:, 1].astype(int) - observation["glimpse"]).max() <= 1
    assert (offered[:, 0] != offered[:, 1]).any()


def config_of(tmp_path, runs, *, names=("a",), **options):
    folders = tuple(runs[name] for name in names)
    given = {"task": ("reorient",), "agent": ("random", "oracle"), "episodes": 6, "rows": 4}
    return ControlConfig(world_model=folders, out=tmp_path / "out", **{**given, **options})


def test_finished_cells_are_skipped_and_a_lost_one_is_played_again(tmp_path, runs, monkeypatch, capsys):
    config = config_of(tmp_path, runs, names=("a", "b"), agent=("random", "greedy-renderer", "oracle"))
    control(config)
    cells = sorted(path.name for path in (config.folder / "cells").iterdir())
    assert cells == [
        *("reorient--greedy-renderer--a.json", "reorient--greedy-renderer--b.json"),
        *("reorient--oracle.json", "reorient--random.json"),
    ]
    first = json.loads((config.folder / "results.json").read_text())
    lost = "reorient--greedy-renderer--b.json"
    (config.folder / "cells" / lost).unlink()
    plays, play = [], Players.play
    monkeypatch.setattr(Players, "play", lambda self, cell: plays.append(cell.name) or play(self, cell))
    control(config)
    assert [f"{name}.json" for name in plays] == [lost]
    again = json.loads((config.folder / "results.json").read_text())
    for found in (first, again):  # all but the clock
        for agent in found["tasks"]["reorient"]["agents"].values():
            for scores in (agent["scores"], *agent["by_model"].values()):
                del scores["decision_ms"]
    assert first == again
    agents = again["tasks"]["reorient"]["agents"]
    assert agents["greedy-renderer"]["models"] == ["a", "b"] and agents["oracle"]["models"] == []
    assert agents["oracle"]["scores"]["success"]["value"] == 1.0
    assert agents["oracle"]["difference"]["success"]["value"] == 1.0 - agents["random"]["scores"]["success"]["value"]
    for name in ("success.png", "distance.png", "results.md"):
        assert (config.folder / name).stat().st_size > 500
    rows = list(csv.DictReader((config.folder / "results.csv").read_text().splitlines()))
    (cell,) = [row for row in rows if (row["agent"], row["measure"]) == ("oracle", "success")]
    assert (cell["task"], cell["model"], cell["value"]) == ("reorient", "all", "1.0")
    assert "oracle*" in capsys.readouterr().out


def test_results_are_of_all_finished_cells_in_whatever_calls_they_were_played(tmp_path, runs):
    for agent in ("oracle", "random"):
        control(config_of(tmp_path, runs, agent=(agent,)))
    found = json.loads((tmp_path / "out" / "results.json").read_text())["tasks"]["reorient"]["agents"]
    assert list(found) == ["random", "oracle"]
    assert found["oracle"]["difference"]["success"]["value"] > 0.5


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(tmp_path, runs, monkeypatch, capsys):
    def fail(where):
        raise ValueError("no luck")

    whole = CONTROLLERS["oracle"]
    monkeypatch.setitem(CONTROLLERS, "oracle", replace(whole, make=fail))
    alone = config_of(tmp_path / "alone", runs, agent=("oracle",))
    control(replace(alone, dry_run=True))
    assert "reorient--oracle: would fail: ValueError: no luck" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="1"):
        control(alone)
    assert {path.name for path in alone.folder.iterdir()} == {"cells"}
    config = config_of(tmp_path, runs, agent=("oracle", "random"))
    with pytest.raises(SystemExit, match="1"):
        control(config)
    kept = config.folder / "cells"
    assert {path.name for path in kept.iterdir()} == {"reorient--oracle.failed.txt", "reorient--random.json"}
    reason = (kept / "reorient--oracle.failed.txt").read_text()
    assert reason.startswith("ValueError: no luck\n\nTraceback") and 'raise ValueError("no luck")' in reason
    told = capsys.readouterr()
    assert "1 of 2 cells failed\n  reorient--oracle: ValueError: no luck" in told.err
    assert "random" in told.out
    monkeypatch.setitem(CONTROLLERS, "oracle", whole)
    control(config)
    assert {path.name for path in kept.iterdir()} == {"reorient--oracle.json", "reorient--random.json"}


def test_cells_of_other_settings_are_not_mixed_in(tmp_path, runs):
    control(config_of(tmp_path, runs, agent=("random",)))
    with pytest.raises(ValueError, match="with other episodes than are asked for now"):
        control(config_of(tmp_path, runs, agent=("random",), episodes=7))
    with pytest.raises(ValueError, match="with other seed"):
        control(config_of(tmp_path, runs, agent=("random",), seed=1))


def test_cells_of_other_weights_are_not_mixed_in_either(tmp_path):
    """The run has gone on since, or another has its name."""
    for number, where in enumerate(("here", "there")):
        run = made(tmp_path / where / "run", replace(TINY, seed=number))
        config = ControlConfig(
            world_model=(run,), task=("reorient",), agent=("greedy-renderer",), episodes=2, rows=2, out=tmp_path / "out"
        )
        if number == 0:
            control(config)
    with pytest.raises(ValueError, match="with other weights than are asked for now"):
        control(config)


def test_a_dry_run_lists_what_is_left_and_keeps_nothing(tmp_path, runs, capsys):
    config = config_of(tmp_path, runs, dry_run=True)
    control(config)
    told = capsys.readouterr().out
    assert "reorient--random: about " in told and "left, by the first motions" in told
    assert not config.folder.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": ("reach",)}, r"'reach' is in the world 'saccade', and the world model was trained in 'rotation'"),
        ({"task": ("juggle",)}, r"no task 'juggle'; there are reorient"),
        ({"agent": ("clown",)}, r"no agent 'clown'; there are random"),
        ({"agent": ("saliency",)}, r"agent 'saliency' cannot act in task 'reorient'"),
        ({"names": (), "agent": ("greedy-renderer",)}, r"needs a world model"),
        ({"names": ("a", "other-size")}, r"a and other-size were trained in different worlds \(size 16 and 24\)"),
        ({"names": ("a", "a")}, r"two runs are called 'a'"),
        ({"task": ()}, r"name a grid"),
        ({"episodes": 0}, r"episodes must be at least 1"),
        ({"seed": -1}, r"seed must be a whole number, at least 0"),
        ({"device": "abacus"}, r"cannot compute on device 'abacus'"),
    ],
)
def test_what_cannot_be_played_is_one_clear_error(tmp_path, runs, options, message):
    with pytest.raises(ValueError, match=message):
        control(config_of(tmp_path, runs, **options))
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_views_or_motions_is_refused(runs):
    model, _ = load_model(runs["a"])
    wider = Playground(TASKS["reorient"], replace(TINY, rotation=replace(TINY.rotation, size=24)), 1)
    with pytest.raises(ValueError, match=r"'reorient' are \(24, 24, 3\), and the world model's \(16, 16, 3\)"):
        wider.check_model(model)
    gaze = replace(SACCADES, saccade=SaccadeOptions(glimpse_size=16))
    with pytest.raises(
        ValueError, match=r"'reach' are 'translation' of 2 numbers, and the world model's 'rotation' of 4"
    ):
        Playground(TASKS["reach"], gaze, 1).check_model(model)


def test_a_saccade_model_of_another_world_is_refused(tmp_path, runs):
    with pytest.raises(ValueError, match="trained in the world 'rotation', not in 'saccade'"):
        load_runs(config_of(tmp_path, runs, names=(), saccade_model=(runs["a"],)))


def test_a_grid_leaves_out_what_no_run_is_of(tmp_path, runs):
    config = ControlConfig("small", world_model=(runs["a"],), out=tmp_path)
    names = [cell.name for cell in planned_cells(config, load_runs(config))]
    assert {name.split("--")[0] for name in names} == {"reorient", "rotation-homing-4", "rotation-classify"}
    assert "reorient--greedy-renderer--a" in names and "rotation-classify--raster" not in names
    everything = ControlConfig("full", out=tmp_path)
    assert {cell.task.name for cell in planned_cells(everything, [])} == set(TASKS)


def test_a_task_that_states_its_images_prefers_runs_that_were_trained_on_them(tmp_path):
    """Scenes are 96 pixels wide and search images 128: half of each is an image unit."""
    saccade = SACCADES.saccade
    scenes, search = (
        ModelRun(tmp_path / name, name, replace(SACCADES, saccade=replace(saccade, images=name)), "")
        for name in ("scenes", "search")
    )
    config = ControlConfig("small", out=tmp_path)
    alone = [cell for cell in planned_cells(config, [scenes]) if cell.task.name == "search-glimpse"]
    assert {cell.run.label for cell in alone if cell.run} == {"scenes"}
    (note,) = scale_notes(alone)
    assert "an image unit is 48 pixels; in search-glimpse it is 64" in note
    config = replace(config, task=("search-glimpse",))
    both = planned_cells(config, [scenes, search])
    assert {cell.run.label for cell in both if cell.run} == {"search"}
    assert scale_notes(both) == []


def test_all_runs_in_one_call_each_act_where_they_were_trained(tmp_path):
    """A model of search images has another eye than one of landscapes: a task that states no images is not for both."""
    saccade = SACCADES.saccade
    eyes = {"landscapes": saccade, "search": replace(saccade, images="search", fovea="multiscale")}
    land, search = (
        ModelRun(tmp_path / name, name, replace(SACCADES, saccade=replace(eye, images=name)), "")
        for name, eye in eyes.items()
    )
    cells = planned_cells(ControlConfig("small", out=tmp_path), [search, land])
    acting = {cell.task.name: set[str]() for cell in cells}
    for cell in cells:
        acting[cell.task.name] |= {cell.run.label} if cell.run else set()
    assert acting == {
        "reach": {"landscapes"},
        "search": {"search"},
        "search-glimpse": {"search"},
        "saccade-homing-4": {"landscapes"},
        "saccade-classify": {"landscapes"},
    }
    assert {cell.run.label for cell in planned_cells(ControlConfig("small", out=tmp_path), [search]) if cell.run} == {
        "search"
    }


def test_a_task_that_is_named_twice_is_played_once(tmp_path):
    config = ControlConfig(task=("reach", "reach"), agent=("random",), out=tmp_path)
    assert [cell.name for cell in planned_cells(config, [])] == ["reach--random"]


def test_named_agents_act_in_the_named_tasks_that_they_can_act_in(tmp_path):
    config = ControlConfig(task=("reach", "saccade-classify"), agent=("saliency", "oracle"), out=tmp_path)
    names = [cell.name for cell in planned_cells(config, [])]
    assert names == ["reach--saliency", "reach--oracle", "saccade-classify--oracle"]


def test_the_command_runs(tmp_path, runs, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["--task", "rotation-homing-2", "--agent", "oracle", "--world-model", str(runs["a"]), "--episodes", "4"])
    assert "| oracle* |" in capsys.readouterr().out
    kept = tmp_path / "runs" / "control-rotation-homing-2"
    assert (kept / "results.json").is_file()
    assert "- oracle*: " in (kept / "results.md").read_text()
    with pytest.raises(ValueError, match="played with other episodes"):  # which no table could hold beside the new ones
        main(["--task", "rotation-homing-2", "--agent", "random", "--world-model", str(runs["a"]), "--episodes", "5"])
    assert [path.name for path in (kept / "cells").iterdir()] == ["rotation-homing-2--oracle.json"]


def test_a_grid_without_a_task_for_the_runs_is_refused(tmp_path):
    stored = ModelRun(tmp_path, "stored", TrainConfig(world="stored-views"), "")
    with pytest.raises(ValueError, match="runs are of stored-views"):
        planned_cells(ControlConfig("small", out=tmp_path), [stored])


def test_the_table_says_which_agents_are_privileged_and_how_many_models_it_pools():
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "over": "models"}
    own = dict.fromkeys(("success", "any", "return", "decision_ms"), score)
    agents = {
        "random": {"models": [], "scores": own, "difference": {}},
        "greedy-renderer": {"models": ["a", "b"], "scores": own, "difference": {"success": {**score, "low": -0.1}}},
    }
    task = {"difficulty": "hard", "world": "rotation", "agents": agents}
    told = {"tasks": {"reorient": task}, "reference": "random", "episodes": 9, "split": "test"}
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in control_tables(told).splitlines()]
    shared = ["0.500 [0.400, 0.600]", "0.500", "–", "0.50", "0.50"]
    assert ["random", "–", *shared, "–"] in lines
    assert ["greedy-renderer*", "2", *shared, "+0.500 [-0.100, +0.600]"] in lines
