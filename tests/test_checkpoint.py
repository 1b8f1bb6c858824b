"""Checkpoints: whole or absent, never half; damage and full disks are named, and the last good one still loads."""

import json
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from glimpseworld.world_model.checkpoint import (
    CheckpointError,
    check_writable,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    saving,
    write_csv,
    write_json,
    write_text,
)

ARRAYS = {"model": {"w": np.arange(6.0).reshape(2, 3)}, "replay": {"seeds": np.array([2**63 + 1], dtype=np.uint64)}}


def test_what_was_saved_comes_back(tmp_path):
    state = {"steps": 3, "big": 2**100, "nested": {"a": [1, 2]}}
    folder = save_checkpoint(tmp_path, 3, ARRAYS, state)
    arrays, loaded = load_checkpoint(folder)
    assert loaded == state
    for name, group in ARRAYS.items():
        for key, value in group.items():
            np.testing.assert_array_equal(arrays[name][key], value)
            assert arrays[name][key].dtype == value.dtype
    assert list(load_checkpoint(folder, only=["model"])[0]) == ["model"]


def test_odd_strides_and_scalars_are_saved_as_they_read(tmp_path):
    array = np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)
    folder = save_checkpoint(tmp_path, 1, {"model": {"w": array, "count": np.array(7)}}, {})
    loaded = load_checkpoint(folder)[0]["model"]
    np.testing.assert_array_equal(loaded["w"], array)
    assert loaded["count"].shape == ()


def test_the_newest_are_kept(tmp_path):
    for step in (1, 2, 30, 4):
        save_checkpoint(tmp_path, step, ARRAYS, {}, keep=2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000004", "step-00000030"]
    save_checkpoint(tmp_path, 30, ARRAYS, {"again": True}, keep=1)
    assert latest_checkpoint(tmp_path) == tmp_path / "step-00000030"
    assert load_checkpoint(tmp_path / "step-00000030")[1] == {"again": True}
    assert latest_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_a_truncated_checkpoint_is_named_with_the_way_out(tmp_path, name):
    save_checkpoint(tmp_path, 1, ARRAYS, {})
    last = save_checkpoint(tmp_path, 2, ARRAYS, {})
    (last / name).write_bytes((last / name).read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=r"step-00000002.*go on from step-00000001"):
        load_checkpoint(last)
    assert load_checkpoint(tmp_path / "step-00000001")[0]["model"]["w"].shape == (2, 3)


def test_damage_inside_a_file_of_the_right_size_is_named(tmp_path):
    folder = save_checkpoint(tmp_path, 1, ARRAYS, {})
    path = folder / "model.safetensors"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(CheckpointError, match="cannot read checkpoint"):
        load_checkpoint(folder)


def test_a_folder_that_is_no_checkpoint_or_one_of_another_kind(tmp_path):
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        load_checkpoint(tmp_path)
    policy = save_checkpoint(tmp_path, 1, {"policy": ARRAYS["model"], "optimizer": {}}, {})
    with pytest.raises(CheckpointError, match=r"another kind: expected one with model, got policy, optimizer$"):
        load_checkpoint(policy, only=["model"])


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    """A file-size limit makes the write fail in the middle of the second checkpoint, as a full disk would."""
    script = textwrap.dedent(
        """
        import sys, resource, signal, numpy as np
        from pathlib import Path
        from glimpseworld.world_model.checkpoint import CheckpointError, save_checkpoint, load_checkpoint
        root = Path(sys.argv[1])
        save_checkpoint(root, 1, {"model": {"w": np.ones(10)}}, {})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            save_checkpoint(root, 2, {"model": {"w": np.ones(10_000)}}, {})
        except CheckpointError as error:
            print(error)
        print(load_checkpoint(root / "step-00000001")[0]["model"]["w"].sum())
        """
    )
    out = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot write checkpoint" in out.stdout
    assert "The last good one is" in out.stdout
    assert "free some space" in out.stdout
    assert out.stdout.strip().endswith("10.0")
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096  # the limit was the child's alone


def test_a_kill_while_writing_leaves_the_last_good_checkpoint(tmp_path):
    script = textwrap.dedent(
        """
        import sys, numpy as np
        from pathlib import Path
        from glimpseworld.world_model.checkpoint import save_checkpoint
        step = 0
        while True:
            step += 1
            save_checkpoint(Path(sys.argv[1]), step, {"model": {"w": np.full(200_000, float(step))}}, {"steps": step})
            print(step, flush=True)
        """
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        last = latest_checkpoint(tmp_path)
        assert last is not None
        arrays, state = load_checkpoint(last)
        assert (arrays["model"]["w"] == state["steps"]).all()
        assert state["steps"] >= 5


def test_a_kill_while_replacing_a_checkpoint_leaves_a_whole_one(tmp_path):
    """Killed when the second of the files that are in the way is removed."""
    script = textwrap.dedent(
        """
        import os, signal, sys, numpy as np
        from pathlib import Path
        from glimpseworld.world_model.checkpoint import save_checkpoint
        arrays = {"model": {"w": np.zeros(3)}, "replay": {"w": np.zeros(3)}}
        save_checkpoint(Path(sys.argv[1]), 1, arrays, {"try": 0})
        unlink, removed = os.unlink, []
        def killing(*args, **options):
            removed.append(args)
            if len(removed) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            unlink(*args, **options)
        os.unlink = killing
        save_checkpoint(Path(sys.argv[1]), 1, arrays, {"try": 1})
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    last = latest_checkpoint(tmp_path)
    assert last is not None
    assert load_checkpoint(last)[1] == {"try": 1}
    save_checkpoint(tmp_path, 2, {}, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


def test_json_is_replaced_whole(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_text_is_written_whole_and_byte_for_byte(tmp_path):
    write_csv(tmp_path / "a.csv", [["a", "b"], (1, "x,y")])
    assert (tmp_path / "a.csv").read_bytes() == b'a,b\r\n1,"x,y"\r\n'
    write_text(tmp_path / "a.md", "0.5 – 0.6\n")
    assert (tmp_path / "a.md").read_bytes() == "0.5 – 0.6\n".encode()
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.md", "half of it \ud800")
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == "0.5 – 0.6\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.md"]


def test_a_full_disk_is_told_with_what_could_not_be_written_and_the_way_out():
    told = r"cannot write the curves: no space left\. Free some space and go on"
    with pytest.raises(CheckpointError, match=told), saving("the curves", "Free some space and go on"):
        raise OSError("no space left")
    with pytest.raises(ValueError, match="another"), saving("the curves"):
        raise ValueError("another")


def test_what_cannot_be_written_is_said_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.npz").mkdir()
    before = sorted(tmp_path.rglob("*"))
    check_writable(tmp_path / "file", tmp_path / "new", tmp_path / "not" / "yet" / "there")
    for path, reason in (
        (tmp_path / "folder.npz", "found a folder"),
        (tmp_path / "file" / "new", f"expected a folder at {tmp_path / 'file'}, found a file"),
        (tmp_path / "file" / "not" / "yet", "found a file"),
        (Path("/proc/new"), "/proc takes no files"),
    ):
        with pytest.raises(CheckpointError, match=f"cannot write {path}: .*{reason}.* Choose another place"):
            check_writable(tmp_path / "new", path)
    assert sorted(tmp_path.rglob("*")) == before
