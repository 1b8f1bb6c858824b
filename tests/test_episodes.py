"""Recorded episodes: what is kept, round trips through files and Minari, and windows that stay in an episode."""

import sys

import gymnasium as gym
import numpy as np
import pytest
import torch

from glimpseworld.envs.environment import GlimpseVectorEnv
from glimpseworld.envs.saccade import SaccadeWorld
from glimpseworld.envs.tasks.task import FreeViewing
from glimpseworld.experiments import dataset
from glimpseworld.experiments.config import make_agent
from glimpseworld.experiments.dataset import DatasetConfig, load_episodes, record, save_episodes
from glimpseworld.world_model.checkpoint import CheckpointError
from glimpseworld.world_model.episodes import Episodes
from glimpseworld.world_model.learner import Learner, LearnerConfig
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

ROTATION = "GlimpseWorld/ObjectRotation-v0"
SMALL = {"size": "8", "members_per_family": "1", "max_episode_steps": "4"}
OPTIONS = ["--env-options", *(text for pair in SMALL.items() for text in pair)]
ARRAYS = ("views", "motions", "first", "actions", "rewards", "terminated", "label", "index")


class Leave(FreeViewing):
    """An episode ends by itself once the gaze is far from the centre; `goal` is an entry of the observation."""

    def observation_spaces(self, world):
        return {"goal": gym.spaces.Box(-1, 1, (2,), np.float32)}

    def score(self, rows, actions, world):
        distance = np.linalg.norm(world.pose[rows], axis=1)
        return distance, distance > 0.8

    def observe(self, rows):
        return {"goal": np.full((len(np.arange(6)[rows]), 2), 0.5, np.float32)}


@pytest.fixture
def uneven(toy_images):
    """20 episodes of differing lengths, from 6 sub-environments."""
    world = SaccadeWorld(toy_images, glimpse_size=8)
    envs = GlimpseVectorEnv(world, Leave(), num_envs=6, max_episode_steps=7)
    agent = make_agent("random", world, 6, np.random.default_rng(0))
    return dataset._record(envs, agent, 3, 20, {"env": "GlimpseWorld/Saccade-v0", "kwargs": {}})


def rotations(**options):
    return record(DatasetConfig(out="", env=ROTATION, episodes=5, num_envs=2, env_options=SMALL | options))


def same(a, b):
    for name in ARRAYS:
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y, err_msg=name)
    assert a.motion_kind == b.motion_kind and a.entries.keys() == b.entries.keys()
    for name, entry in a.entries.items():
        np.testing.assert_array_equal(entry, b.entries[name])


def test_recorded_episodes_are_those_of_the_environment(uneven, toy_images):
    """Carrying out the recorded actions in single environments gives every recorded array again."""
    assert len(uneven) == 20 and len(set(np.diff(uneven.starts))) > 3
    singles = [GlimpseVectorEnv(SaccadeWorld(toy_images, glimpse_size=8), num_envs=1) for _ in range(6)]
    row = np.repeat(np.arange(6), [4, 4, 3, 3, 3, 3])  # 20 episodes in even shares
    for e, (begin, end) in enumerate(zip(uneven.starts, uneven.starts[1:], strict=False)):
        env = singles[row[e]]
        fresh = e == 0 or row[e] != row[e - 1]
        observation, info = env.reset(seed=3 + row[e]) if fresh else env.reset()
        assert (info["label"][0], info["index"][0]) == (uneven.label[e], uneven.index[e])
        assert uneven.first[begin:end].tolist() == [True] + [False] * (end - begin - 1)
        assert uneven.actions[begin].tolist() == [0, 0] and uneven.rewards[begin] == 0
        for t in range(begin, end):
            if t > begin:
                observation, *_, info = env.step(uneven.actions[t, None])
                distance = np.linalg.norm(info["position"][0])
                assert uneven.rewards[t] == pytest.approx(distance)
                assert uneven.terminated[t] == (distance > 0.8)
            np.testing.assert_array_equal(uneven.views[t], observation["glimpse"][0])
            np.testing.assert_array_equal(uneven.motions[t], observation["motion"][0])
        assert uneven.terminated[end - 1] or end - begin == 8
        assert not uneven.terminated[begin : end - 1].any()


def test_a_file_gives_back_what_was_recorded(uneven, tmp_path):
    save_episodes(uneven, str(tmp_path / "new" / "data.npz"))
    found = load_episodes(str(tmp_path / "new" / "data.npz"))
    same(found, uneven)
    assert found.entries["goal"].shape == (len(uneven.first), 2)
    assert found.source == uneven.source
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["data.npz"]


def test_a_write_that_fails_leaves_the_old_file(uneven, tmp_path, monkeypatch):
    path = tmp_path / "data.npz"
    uneven.save(path)
    before = path.read_bytes()

    def broken(file, **arrays):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="no space"):
        uneven.save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["data.npz"]


def test_what_is_no_recording_is_refused(uneven, tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", meta=np.array([{}], dtype=object))
    uneven.save(tmp_path / "cut.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:2000])
    for name in ("text", "other", "pickled", "cut"):
        with pytest.raises(ValueError, match="holds no recorded episodes"):
            load_episodes(str(tmp_path / f"{name}.npz"))
    with pytest.raises(FileNotFoundError):
        load_episodes(str(tmp_path / "none.npz"))
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        uneven.save(tmp_path / "data.zip")


@pytest.mark.parametrize("mode", ["adjacent", "hindsight"])
def test_windows_of_a_recording_stay_in_an_episode(uneven, mode):
    replay = uneven.to_replay()
    assert len(replay) == len(uneven.first)
    windows = replay.sample(500, context=2, targets=1, mode=mode, generator=np.random.default_rng(0))
    begins, ends = uneven.starts[windows.episode], uneven.starts[windows.episode + 1]
    assert ((windows.step >= begins[:, None]) & (windows.step < ends[:, None])).all()
    np.testing.assert_array_equal(windows.views, uneven.views[windows.step])
    long_enough = np.flatnonzero(np.diff(uneven.starts) >= 3)
    assert set(windows.episode.tolist()) == set(long_enough.tolist())
    if mode == "adjacent":
        np.testing.assert_allclose(windows.motions, uneven.motions[windows.step[:, 1:]], atol=1e-6)


def test_a_world_model_trains_from_a_file(tmp_path):
    torch.manual_seed(0)
    save_episodes(rotations(), str(tmp_path / "data.npz"))
    replay = load_episodes(str(tmp_path / "data.npz")).to_replay()
    config = SeqJEPAConfig(
        size=8, channels=3, motion_dim=4, encoder="small", z_dim=16, layers=1, heads=2, motion_embedding=8
    )
    learner = Learner(SeqJEPA(config), LearnerConfig(total_steps=3, warmup_steps=1))
    for _ in range(2):
        windows = replay.sample(8, context=2, targets=1, mode="hindsight", generator=np.random.default_rng(0))
        metrics = learner.update(windows)
    assert learner.steps == 2 and all(np.isfinite(value) for value in metrics.values())


def test_recordings_are_checked():
    good = {
        "views": np.zeros((3, 4, 4, 1), np.uint8),
        "motions": np.zeros((3, 2), np.float32),
        "first": np.array([True, False, True]),
        "actions": np.zeros((3, 2), np.float32),
        "rewards": np.zeros(3),
        "terminated": np.zeros(3, bool),
        "label": np.zeros(2, np.int64),
        "index": np.zeros(2, np.int64),
        "motion_kind": "translation",
    }
    assert Episodes(**good).starts.tolist() == [0, 2, 3]
    for name, bad, message in (
        ("first", np.array([False, True, True]), "True where the first episode begins"),
        ("views", np.zeros((3, 4, 4, 1)), "views must be uint8"),
        ("motions", np.zeros((2, 2), np.float32), "3 long"),
        ("label", np.zeros(3, np.int64), "each of 2 episodes"),
        ("entries", {"goal": np.zeros(2)}, "further entry"),
    ):
        with pytest.raises(ValueError, match=message):
            Episodes(**{**good, name: bad})


@pytest.fixture
def minari(tmp_path, monkeypatch):
    pytest.importorskip("h5py", reason="the extra minari is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return pytest.importorskip("minari", reason="the extra minari is not installed")


def test_minari_gives_back_what_was_recorded(minari):
    episodes = rotations()
    save_episodes(episodes, "minari:glimpseworld/rotation/random-v0")
    found = load_episodes("minari:glimpseworld/rotation/random-v0")
    same(found, episodes)
    assert (found.source["env"], found.source["kwargs"]["size"]) == (ROTATION, 8)
    loaded = minari.load_dataset("glimpseworld/rotation/random-v0")
    assert loaded.total_episodes == 5 and loaded.total_steps == 20
    for episode in loaded.iterate_episodes():
        assert episode.truncations.tolist() == [False] * 3 + [True] and not episode.terminations.any()
        assert loaded.observation_space["glimpse"].contains(episode.observations["glimpse"][0])
    recovered = loaded.recover_environment()
    observation, _ = recovered.reset(seed=0)
    np.testing.assert_array_equal(observation["glimpse"], episodes.views[0])


def test_views_that_minari_would_store_as_jpeg_stay_as_they_are(minari):
    episodes = rotations(size="32", max_episode_steps="1")
    save_episodes(episodes, "minari:views-v0")
    same(load_episodes("minari:views-v0"), episodes)


@pytest.mark.filterwarnings("ignore::UserWarning:minari")
@pytest.mark.parametrize("infos", [True, False])
def test_data_sets_that_others_recorded_load_if_they_have_infos(minari, infos):
    """As `minari.DataCollector` keeps them: an episode after the other, infos only if asked for."""
    from minari.data_collector import EpisodeBuffer

    env = gym.make(ROTATION, size=8, members_per_family=1, max_episode_steps=2)
    buffers, seen = [], []
    for number in range(3):
        steps, done = [env.reset(seed=number)], False
        actions, ends = [], []
        while not done:
            actions.append(env.action_space.sample())
            observation, _, _, done, info = env.step(actions[-1])
            steps.append((observation, info))
            ends.append(done)
        seen += [observation for observation, _ in steps]
        buffer = EpisodeBuffer(
            id=number,
            observations={key: [o[key] for o, _ in steps] for key in seen[0]},
            actions=actions,
            rewards=[0.0] * 2,
            terminations=[False] * 2,
            truncations=ends,
            infos={key: [i[key] for _, i in steps] for key in ("label", "index")} if infos else None,
        )
        buffers.append(buffer)
    minari.create_dataset_from_buffers("others-v0", buffers, env=env, data_format="hdf5")
    if not infos:
        with pytest.raises(ValueError, match="record_infos=True"):
            load_episodes("minari:others-v0")
        return
    found = load_episodes("minari:others-v0")
    np.testing.assert_array_equal(found.views, np.stack([o["glimpse"] for o in seen]))
    np.testing.assert_array_equal(found.motions, np.stack([o["motion"] for o in seen]))
    assert found.starts.tolist() == [0, 3, 6, 9] and len(found.label) == 3
    assert found.actions[[0, 3, 6]].tolist() == np.zeros((3, 3)).tolist()


def test_minari_says_what_is_wrong(minari):
    with pytest.raises(ValueError, match="no local Minari data set"):
        load_episodes("minari:nothing-v0")
    save_episodes(rotations(), "minari:once-v0")
    with pytest.raises(ValueError, match="already exists"):
        save_episodes(rotations(), "minari:once-v0")


@pytest.mark.parametrize("name", ["", "test", "test-v", "test-vx", "a b-v0", "../test-v0", "saccade/-v0"])
def test_names_that_minari_does_not_take_are_said_before_anything_is_played(minari, monkeypatch, tmp_path, name):
    monkeypatch.setattr(dataset, "record", lambda config: pytest.fail("played first"))
    with pytest.raises(ValueError, match=rf"expected minari:NAME-vVERSION.*minari:test-v0.*got 'minari:{name}'"):
        dataset.main([f"minari:{name}"])
    with pytest.raises(ValueError, match="expected minari:NAME-vVERSION"):
        load_episodes(f"minari:{name}")
    assert not (tmp_path / "minari").exists()


def test_a_minari_name_that_is_taken_is_said_before_anything_is_played(minari, monkeypatch):
    save_episodes(rotations(), "minari:once-v0")
    monkeypatch.setattr(dataset, "record", lambda config: pytest.fail("played first"))
    with pytest.raises(ValueError, match="once-v0 already exists: choose another name or version"):
        dataset.main(["minari:once-v0"])


def test_without_minari_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call in (lambda: load_episodes("minari:a-v0"), lambda: dataset.main(["minari:a-v0"])):
        with pytest.raises(ValueError, match=r"pip install 'glimpseworld\[minari\]'"):
            call()


@pytest.mark.parametrize("out", ["taken.npz", "file/data.npz", ".npz"])
def test_what_cannot_be_written_is_said_before_anything_is_played(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dataset, "record", lambda config: pytest.fail("played first"))
    (tmp_path / "taken.npz").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises((CheckpointError, ValueError), match=rf"cannot write {out}|expected FILE\.npz"):
        dataset.main([out])


def test_the_command_records(tmp_path, capsys):
    out = tmp_path / "data.npz"
    dataset.main([str(out), "--env", ROTATION, "--episodes", "3", *OPTIONS])
    assert "recorded 3 episodes, 15 views" in capsys.readouterr().out
    assert len(load_episodes(str(out))) == 3


@pytest.mark.parametrize("stop", ["true", "false"])
def test_the_oracle_records_as_the_all_knowing_agent_it_is(stop):
    options = {**SMALL, "stop": stop}
    config = DatasetConfig(
        out="", env="GlimpseWorld/ObjectClassify-v0", agent="oracle", episodes=3, env_options=options
    )
    episodes = record(config)
    said = ~episodes.first
    families = episodes.actions.shape[1] - 3 - (stop == "true")
    told = episodes.actions[said, 3 : 3 + families].argmax(axis=1)
    np.testing.assert_array_equal(told, np.repeat(episodes.label, 1 if stop == "true" else 4))
    assert episodes.terminated.any() == (stop == "true")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.csv"], "FILE.npz or minari:NAME"),
        (["data.npz", "--episodes", "0"], "at least 1"),
        (["data.npz", "--env", "GlimpseWorld/Juggling-v0"], "no environment"),
        (["data.npz", "--env-options", "colour", "1"], "does not take these options"),
        (["data.npz", "--env-options", "autoreset_mode", "Disabled"], "cannot set autoreset_mode, which the command"),
        (["data.npz", "--env", ROTATION, *OPTIONS, "max_episode_steps", "-1"], "must end"),
        (["data.npz", "--env", ROTATION, "--agent", "oracle", *OPTIONS], "has no goal"),
        (["data.npz", "--env", "GlimpseWorld/ObjectClassify-v0", "--agent", "independent", *OPTIONS], "only moves"),
    ],
)
def test_a_wrong_call_says_what_to_do(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        dataset.main(arguments)
