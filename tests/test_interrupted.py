"""Runs that are interrupted, edited or trained twice at once: what was learned is kept, and stays one run's."""

import json
import os
import signal
import threading
from dataclasses import asdict, replace

import pytest
import torch
from test_train import TINY as SMALL

from glimpseworld.experiments import run_folder, train_command
from glimpseworld.experiments.interrupt import held_back
from glimpseworld.experiments.run_folder import alone_in, load_config, load_model, refuse_edited, save_config
from glimpseworld.experiments.train import train
from glimpseworld.experiments.trainer import Trainer
from glimpseworld.world_model.checkpoint import CheckpointError, latest_checkpoint
from glimpseworld.world_model.learner import LearnerConfig

TINY = replace(
    SMALL,
    learner=LearnerConfig(total_steps=8, warmup_steps=2),
    probe_every=8,
    checkpoint_every=8,
    final_evaluation="none",
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def ctrl_c_interrupts():
    """Whoever runs the tests in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def begun(folder, config=TINY):
    folder.mkdir(parents=True)
    save_config(config, folder)
    return folder


def interrupt_at(monkeypatch, update, number=signal.SIGINT):
    """Send this process a signal in the midst of an update."""
    advance = Trainer.advance

    def interrupted(self):
        if self.learner.steps + 1 == update:
            os.kill(os.getpid(), number)
        return advance(self)

    monkeypatch.setattr(Trainer, "advance", interrupted)


def test_ctrl_c_ends_the_update_saves_it_and_loses_nothing(tmp_path, monkeypatch, capsys):
    whole, parts = begun(tmp_path / "whole"), begun(tmp_path / "parts")
    train(TINY, whole)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, parts)
    assert latest_checkpoint(parts / "checkpoints").name == "step-00000005"
    assert f"saved at update 5 of 8 in {parts}" in capsys.readouterr().err
    train(TINY, parts, resume=True)
    for one, other in zip(load_model(whole)[0].parameters(), load_model(parts)[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_command_says_how_to_go_on_and_keeps_no_folder_of_a_run_that_had_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(train_command, "presets", lambda: {"tiny": ("A test.", replace(TINY, folder=str(tmp_path)))})
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(KeyboardInterrupt) as told:
            train_command.main(["tiny"])
    (folder,) = tmp_path.iterdir()
    assert str(told.value) == f"go on with: glimpseworld train --resume {folder}"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "__init__", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="nothing is kept"):
            train_command.main(["tiny"])
    assert list(tmp_path.iterdir()) == [folder]


def test_a_signal_has_its_old_effect_after_the_block_and_the_second_one_within():
    caught = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        with held_back() as asked:
            assert not asked()
            signal.raise_signal(signal.SIGTERM)
            assert asked() and not caught
        assert caught == [signal.SIGTERM]
        with held_back():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert len(caught) == 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_back() as asked:
        signal.raise_signal(signal.SIGINT)
        assert not asked()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_nothing_is_held_back_outside_of_the_main_thread():
    seen = []

    def work():
        with held_back() as asked:
            seen.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    folder = begun(tmp_path / "run")
    with alone_in(folder), pytest.raises(CheckpointError, match="another process trains in"):
        train(TINY, folder)
    train(TINY, folder)


def test_an_edited_run_is_not_gone_on_with_unless_learning_stays_what_it_was(tmp_path):
    folder = begun(tmp_path / "run")
    train(replace(TINY, checkpoint_every=3), folder, stop_after=4)
    save_config(replace(TINY, model=replace(TINY.model, z_dim=32), batch_size=4), folder)
    with pytest.raises(CheckpointError, match=r"batch_size 4, was 8; model\.z_dim 32, was 16"):
        train(load_config(folder), folder, resume=True)
    save_config(replace(TINY, log_every=1), folder)
    train(load_config(folder), folder, resume=True)


def test_what_an_earlier_version_had_no_setting_for_was_as_by_default(tmp_path, monkeypatch):
    saved = json.loads(json.dumps(asdict(TINY)))
    del saved["model"]["objective"]["instance"], saved["model"]["agg_token"]
    monkeypatch.setattr(run_folder, "load_checkpoint", lambda *_, **__: ({}, {"config": saved}))
    refuse_edited(TINY, tmp_path, tmp_path)
    telling = replace(TINY.model, agg_token="mean")
    with pytest.raises(CheckpointError, match=r"model\.agg_token mean, was learned\. Put"):
        refuse_edited(replace(TINY, model=telling), tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("batch_size",), "8", r"batch_size must be int, got '8'"),
        (("batch_size",), None, r"batch_size must be int, got None"),
        (("learner",), None, r"learner must be an object of settings, got None"),
        (("learner", "learning_rate"), [1], r"learner\.learning_rate must be float, got \[1\]"),
        (("replay", "context"), [1], r"replay\.context must be tuple\[int, int\], got \[1\]"),
        (("model", "method"), "seqjepa", r"model\.method must be 'seq-jepa', .* or 'supervised', got 'seqjepa'"),
        (("model", "speed"), 3, r"no settings \['model\.speed'\]"),
    ],
)
def test_a_damaged_config_is_named_with_what_is_wrong(tmp_path, path, value, message):
    folder = begun(tmp_path / "run")
    settings = json.loads((folder / "config.json").read_text())
    place = settings
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{message}"):
        load_config(folder)
