"""The command line as a user calls it: what it prints, and one clear line with an exit code when it cannot."""

import json
import resource
import subprocess
import sys
import time
from importlib import import_module

import pytest

from glimpseworld.envs.shapes.objects import load_objects
from glimpseworld.experiments.cli import COMMANDS
from glimpseworld.experiments.compare.grid import Grid
from glimpseworld.experiments.compare.grid_runs import planned_runs
from glimpseworld.experiments.config import HELD_OUT_MEMBERS, presets
from glimpseworld.experiments.evaluate import EvaluateConfig, evaluate
from glimpseworld.experiments.homing import HomingConfig, homing
from glimpseworld.experiments.horizons import HorizonsConfig, horizons
from glimpseworld.experiments.run_folder import save_config
from glimpseworld.world_model.checkpoint import CheckpointError

TINY = [
    *["train", "quick", "--rotation.size", "16", "--rotation.members-per-family", "2"],
    *["--learner.total-steps", "6", "--learner.warmup-steps", "2", "--warmup-glimpses", "400"],
    *["--batch-size", "8", "--model.z-dim", "16", "--model.layers", "1", "--probe-every", "3"],
]


def run(*arguments, cwd, **options):
    command = [sys.executable, "-m", "glimpseworld.experiments.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=180, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "no command 'fly'"),
        (["train", "fast"], "no preset 'fast'; there are quick, cpu"),
        (["train", "--resume", "nowhere"], "nowhere is no run"),
        (["evaluate", "nowhere"], "nowhere is no run"),
        (["evaluate"], "name at least one run"),
        (["summary", "nowhere"], "nowhere is no run"),
        (["rollout", "--env", "GlimpseWorld/Juggling-v0"], "no environment 'GlimpseWorld/Juggling-v0'; there are"),
        (["rollout", "--record", "film.avi"], ".avi"),
        (["rollout", "--env-options", "images", "nowhere"], "nowhere"),
        (["rollout", "--episodes", "0"], "at least 1"),
        (["rollout", "--env-options", "colour", "1"], "does not take these options"),
        (["dataset", "data.csv"], "FILE.npz or minari:NAME"),
        (["docs", "--check", "--folder", "nowhere"], "README.md, pictures/"),
        (["train", "quick", "--device", "abacus"], "cannot compute on device 'abacus'"),
        (["train", "quick", "--world", "saccade"], "rotation options have"),
        (["train", "quick", "--glimpses-per-update", "nan"], "glimpses_per_update must be above 0 and finite"),
        (["train", "quick", "--replay.capacity", "200"], "less than an episode"),
        (["train", "quick-saccade", "--saccade.images", "nowhere"], "nowhere"),
        (["train", "paper-saccade", "--device", "cpu"], "--saccade.images PATH"),
        (["train", "paper-3diebench", "--device", "cpu"], "--stored.source PATH"),
        (["train", "quick", "--from-reference", "nowhere.pt", "--warmup-glimpses", "0"], "no checkpoint nowhere.pt"),
        (["evaluate", "--from-reference", "nowhere.pt", "--preset", "paper-saccade"], "no checkpoint nowhere.pt"),
        (["evaluate", "--from-reference", "x.pt", "--preset", "paperback"], "no preset 'paperback'"),
        (["summary"], "no runs given"),
    ],
)
def test_a_wrong_call_is_one_clear_line(tmp_path, arguments, message):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize(
    "call",
    [
        ["rollout"],
        ["dataset", "data.npz"],
        ["train", "quick"],
        ["evaluate", "nowhere"],
        ["horizons", "nowhere"],
        ["homing", "nowhere"],
        ["control", "small"],
        ["policy", "train"],
        ["policy", "play", "nowhere"],
        ["policy", "curves", "--out", "curves"],
    ],
    ids=" ".join,
)
def test_a_seed_out_of_range_is_refused_before_the_work(tmp_path, monkeypatch, capsys, call, seed):
    monkeypatch.chdir(tmp_path)
    command, *rest = call
    option = "--seeds" if "curves" in call else "--seed"
    with pytest.raises(SystemExit) as ended:
        import_module(f"glimpseworld.experiments.{COMMANDS[command][1]}").main([*rest, option, str(seed)])
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert ended.value.code == 2
    assert f"seed must be a whole number, at least 0 and at most 4294967295, got {seed}" in told
    assert not list(tmp_path.iterdir())


def test_the_seeds_of_a_grid_are_in_range_too(tmp_path):
    grid = {"name": "mine", "preset": "quick", "seeds": [0, -1], "arms": {"plus": {}}}
    with pytest.raises(ValueError, match=r"arm 'plus': seed must be .* got -1"):
        planned_runs(Grid(**grid), tmp_path, "test")
    done = run("compare", "small", "--seeds", "-1", cwd=tmp_path)
    assert done.returncode in (1, 2) and "-1" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "name"), [("evaluate", "results.png"), ("horizons", "horizons.json"), ("homing", "homing.png")]
)
def test_where_results_cannot_be_written_is_said_before_a_model_is_loaded(tmp_path, command, name):
    (tmp_path / name).mkdir()
    save_config(presets()["quick"][1], tmp_path)
    measure = {
        "evaluate": lambda: evaluate(tmp_path, EvaluateConfig()),
        "horizons": lambda: horizons(HorizonsConfig(tmp_path)),
        "homing": lambda: homing(HomingConfig(tmp_path)),
    }
    with pytest.raises(CheckpointError, match=f"cannot write {tmp_path / name}"):
        measure[command]()


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "small", "--out"],
        ["control", "--task", "reorient", "--agent", "random", "--out"],
        ["docs", "--folder"],
    ],
)
def test_a_folder_that_cannot_be_is_said_before_the_work(tmp_path, arguments):
    (tmp_path / "file").touch()
    done = run(*arguments, "file", cwd=tmp_path)
    assert done.returncode == 1 and not done.stdout
    assert "expected a folder at" in done.stderr and "Traceback" not in done.stderr


def test_help_names_every_command(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout
        helped = run(command, "--help", cwd=tmp_path)
        assert helped.returncode == 0
        assert "usage" in helped.stdout


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path):
    call = "rollout --env GlimpseWorld/ObjectRotation-v0 --env-options size 24 members_per_family 2 max_episode_steps 3"
    command = [sys.executable, "-m", "glimpseworld.experiments.cli", *call.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
    assert (process.returncode, told) == (141, "")


@pytest.mark.parametrize("suffix", ["png", "gif", "mp4"])
def test_rollout_records(tmp_path, suffix):
    done = run(
        *["rollout", "--env", "GlimpseWorld/ObjectRotation-v0", "--episodes", "2", "--record", f"film.{suffix}"],
        *["--env-options", "size", "24", "members_per_family", "2", "max_episode_steps", "3"],
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("3 steps, return 0") == 2
    assert (tmp_path / f"film.{suffix}").stat().st_size > 1000


def test_train_evaluate_and_the_closing_words(tmp_path):
    done = run(*TINY, "--final-evaluation", "brief", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    for name in ("config.json", "metrics.csv", "results.json", "results.png", "checkpoints"):
        assert (folder / name).exists()
    assert "untrained" in done.stdout
    assert str(folder.relative_to(tmp_path)) in done.stdout
    assert done.stdout.count("  glimpseworld ") == 2
    again = run("train", "--resume", str(folder), cwd=tmp_path)
    assert again.returncode == 1
    assert "is finished" in again.stderr


def test_a_full_disk_is_one_clear_line(tmp_path):
    """Files are limited to 300 kB, so that the first checkpoint, with the replay in it, cannot be written."""
    load_objects("families", "train", members_per_family=2)  # into the cache, where the limit would bite first
    load_objects("families", "validation", members_per_family=HELD_OUT_MEMBERS)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    first = run(*TINY, "--final-evaluation", "none", "--checkpoint-every", "2", cwd=tmp_path, preexec_fn=limit)
    assert first.returncode == 1
    assert "cannot write checkpoint" in first.stderr
    assert "free some space" in first.stderr.lower()
    assert "Traceback" not in first.stderr


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path):
    command = [sys.executable, "-m", "glimpseworld.experiments.cli", *TINY]
    command[command.index("6")] = "100000"
    process = subprocess.Popen(
        [*command, "--final-evaluation", "none", "--checkpoint-every", "5"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/checkpoints/step-*/state.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    (folder,) = (tmp_path / "runs").iterdir()
    step = int(sorted(folder.glob("checkpoints/step-*"))[-1].name.split("-")[1])
    for path in (folder / "config.json", *folder.glob("checkpoints/*/state.json")):
        settings = json.loads(path.read_text())
        config = settings if path.name == "config.json" else settings["state"]["config"]
        config["learner"]["total_steps"] = step + 3  # so that the test ends; the schedule is not what it is about
        path.write_text(json.dumps(settings))
    done = run("train", "--resume", str(folder), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"step-{step + 3:08d}" in [p.name for p in folder.glob("checkpoints/*")]
