"""The cache of generated data cleans up after processes that were killed."""

import os

import numpy as np

from glimpseworld.envs.cache import cached_arrays


def test_the_cache_removes_what_a_killed_process_left(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path))
    old, fresh = tmp_path / ".writing-old", tmp_path / ".writing-fresh"
    for folder in (old, fresh):
        folder.mkdir()
        (folder / "half.npy").write_bytes(b"half")
    os.utime(old, (0, 0))
    cached_arrays({"name": "small"}, lambda: {"one": np.ones(3)})
    assert not old.exists()
    assert fresh.exists()
