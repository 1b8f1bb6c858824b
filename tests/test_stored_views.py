"""A tree in 3DIEBench's layout: what is read and skipped; jumps between views; windows without an environment."""

import os
import pickle
import warnings

import cv2
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import glimpseworld.envs as envs
from glimpseworld.envs import stored_view_files
from glimpseworld.envs.cache import RowsFile, streamed_arrays
from glimpseworld.envs.core import Simulator
from glimpseworld.envs.environment import GlimpseVectorEnv
from glimpseworld.envs.splits import SPLITS, dealt_to
from glimpseworld.envs.stored_view_files import StoredViews, load_stored_views
from glimpseworld.envs.stored_views import StoredViewsEnv, StoredViewsVectorEnv, StoredViewsWorld
from glimpseworld.experiments import dataset, play
from glimpseworld.experiments.view_sets import make_view_set

ENV_ID = "GlimpseWorld/StoredViews-v0"
VIEWS = 6
SYNSETS = ("02691156", "03001627")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_object(folder, number, views=VIEWS, side=16):
    """Write grey images whose brightness is 40 + 3 * number + 20 * (view % 8), and the latents of the layout."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(number)
    low, high = [-np.pi / 2] * 3 + [0] * 4, [np.pi / 2] * 3 + [1, np.pi / 4, 2 * np.pi, 1]
    for k in range(views):
        image = np.full((side, side, 3), 40 + 3 * number + 20 * (k % 8), np.uint8)
        cv2.imwrite(str(folder / f"image_{k}.jpg"), image)
        np.save(folder / f"latent_{k}.npy", rng.uniform(low, high))


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "3DIEBench"
    for number in range(20):
        write_object(root / SYNSETS[number % 2] / f"{number:04x}", number)
    (root / "LICENSE").write_text("as published")
    return root


def load(tree, split="train", size=16):
    return load_stored_views(tree, split, size, VIEWS)


def members(tree, split):
    names = sorted(path.relative_to(tree).as_posix() for path in tree.glob("*/*"))
    return [name for name in names if dealt_to(name) == split]


def make(tree, **options):
    return gym.make(ENV_ID, source=str(tree), size=16, views_per_object=VIEWS, max_episode_steps=4, **options)


def make_vec(tree, num_envs=3, **options):
    kwargs = {"source": str(tree), "size": 16, "views_per_object": VIEWS, **options}
    return gym.make_vec(ENV_ID, num_envs, vectorization_mode="vector_entry_point", max_episode_steps=4, **kwargs)


@pytest.fixture
def by_hand():
    """One object turned about z by 0, 20, -30, 90, -90 degrees and by 20 again; pixels tell the view."""
    angles = np.radians([[0.0, 20, -30, 90, -90, 20]])
    latents = np.zeros((1, VIEWS, 7))
    latents[..., 2] = angles
    quaternions = Rotation.from_euler("z", angles.T).as_quat()[None]
    views = np.broadcast_to(np.arange(VIEWS, dtype=np.uint8)[None, :, None, None, None], (1, VIEWS, 8, 8, 3)).copy()
    return StoredViews(views, quaternions, latents, np.zeros(1, np.int64), ("thing",), "train")


# ---------------------------------------------------------------------------------------------------------------- files


def test_views_and_latents_are_those_of_the_files(tree):
    for split in SPLITS:
        names = members(tree, split)
        stored = load(tree, split)
        assert names and len(stored) == len(names)
        assert stored.class_names == SYNSETS and stored.views.shape == (len(names), VIEWS, 16, 16, 3)
        for i, name in enumerate(names):
            assert stored.class_names[stored.labels[i]] == name.split("/")[0]
            number = int(name.split("/")[1], 16)
            expected = 40 + 3 * number + 20 * (np.arange(VIEWS) % 8)
            np.testing.assert_allclose(stored.views[i].mean(axis=(1, 2, 3)), expected, atol=2)
            for k in range(VIEWS):
                latent = np.load(tree / name / f"latent_{k}.npy")
                np.testing.assert_array_equal(stored.latents[i, k], latent)
                theirs = Rotation.from_euler("xyz", latent[:3])
                assert (Rotation.from_quat(stored.quaternions[i, k]).inv() * theirs).magnitude() < 1e-9
        assert (stored.quaternions[..., 3] >= 0).all()


def test_images_are_rgb_and_resized(tmp_path):
    write_object(tmp_path / "t" / "s" / "o", 0, side=32)
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16] = (0, 0, 200)  # red above, in OpenCV's order
    cv2.imwrite(str(tmp_path / "t" / "s" / "o" / "image_3.jpg"), picture)
    np.save(tmp_path / "t" / "s" / "o" / "latent_3.npy", np.arange(9) / 10)  # the data set's page speaks of nine
    stored = load(tmp_path / "t", dealt_to("s/o"), size=8)
    np.testing.assert_allclose(stored.latents[0, 3], np.arange(7) / 10)
    view = stored.views[0, 3].astype(int)
    np.testing.assert_allclose(view[:3], np.broadcast_to((200, 0, 0), (3, 8, 3)), atol=6)
    np.testing.assert_allclose(view[5:], 0, atol=6)


def test_published_lists_are_followed(tree):
    names = [f"/{SYNSETS[n % 2]}/{n:04x}" for n in range(20)]
    np.save(tree / "train_images.npy", names[:16])
    with pytest.raises(ValueError, match=r"has train_images.npy but not train_labels.npy, val_images.npy, val_labels"):
        load(tree)
    np.save(tree / "val_images.npy", names[16:])
    for part, count in (("train", 16), ("val", 4)):
        np.save(tree / f"{part}_labels.npy", 1 - np.arange(count) % 2)  # the lists' numbers, not the sorted names'
    loaded = {split: load(tree, split) for split in SPLITS}
    assert {split: len(stored) for split, stored in loaded.items()} == {
        "train": sum(dealt_to(name[1:]) != "validation" for name in names[:16]),
        "validation": sum(dealt_to(name[1:]) == "validation" for name in names[:16]),
        "test": 4,
    }
    for stored in loaded.values():
        assert stored.class_names == SYNSETS[::-1]
    np.testing.assert_array_equal(loaded["test"].labels, [1, 0, 1, 0])
    np.testing.assert_allclose(loaded["test"].views[:, 0].mean(axis=(1, 2, 3)), 40 + 3 * np.arange(16, 20), atol=2)
    np.save(tree / "val_images.npy", ["/a/../b"] * 4)
    with pytest.raises(ValueError, match=r"expected paths SYNSET/OBJECT.*a/../b"):
        load(tree)
    np.save(tree / "val_images.npy", names[:3])
    with pytest.raises(ValueError, match=r"val_labels.npy \(N,\) of whole numbers"):
        load(tree)


def damage(folder, how):
    latent = folder / "latent_2.npy"
    if how == "no latent":
        latent.unlink()
    elif how == "one view too many":
        (folder / f"image_{VIEWS}.jpg").write_bytes((folder / "image_0.jpg").read_bytes())
    elif how == "NaN":
        np.save(latent, [np.nan, *range(6)])
    elif how == "short":
        np.save(latent, np.zeros(3))
    elif how == "pickle":
        np.save(latent, np.array([{}], dtype=object), allow_pickle=True)
    else:
        (folder / "image_1.jpg").write_bytes(b"" if how == "empty image" else b"no picture")
    os.utime(folder, (0, 0))  # as the docstring asks after a change within a file


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("no latent", "latent_2.npy missing"),
        ("one view too many", "image_6.jpg too many"),
        ("NaN", "latent_2.npy must hold 7 finite floats"),
        ("short", "latent_2.npy must hold 7 finite floats"),
        ("pickle", "view 2 cannot be read"),
        ("empty image", "view 1 cannot be read"),
        ("broken image", "image_1.jpg cannot be decoded"),
    ],
)
def test_unusable_objects_are_skipped_with_one_warning_or_an_error_if_none_is_left(tmp_path, how, reason):
    root = tmp_path / "tree"
    names = [f"s/{n}" for n in range(9) if dealt_to(f"s/{n}") == "train"]
    for number, name in enumerate(names):
        write_object(root / name, number)
    for name in names[:2]:
        damage(root / name, how)
    for _ in range(2):  # the second time from the cache
        with pytest.warns(UserWarning, match=rf"skipped 2 objects .* {names[0]}: .*{reason}") as caught:
            stored = load(root)
        assert len(caught) == 1 and len(stored) == len(names) - 2
        np.testing.assert_allclose(stored.views[0, 0].mean(), 46, atol=2)
    for name in names[2:]:
        damage(root / name, how)
    with pytest.raises(ValueError, match=f"no usable object among {len(names)} .*{reason}"):
        load(root)


def test_bad_arguments(tree, tmp_path):
    with pytest.raises(ValueError, match=r"layout of 3DIEBench.* there is no .*nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no object of the train split"):
        load(tmp_path / "empty")
    for arguments in ({"split": "dev"}, {"size": 0}, {"views_per_object": 1}):
        with pytest.raises(ValueError, match=r"unknown split 'dev'|must be a whole number, at least [12], got"):
            load_stored_views(tree, **arguments)
    with pytest.raises(ValueError, match="max_angle"):
        make(tree, max_angle=0.0)


def test_the_cache_serves_until_the_tree_changes(tree, monkeypatch):
    first = load(tree)
    pickled = pickle.dumps(first)
    assert len(pickled) < 1000

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(stored_view_files, "_decoded", refuse)
    for again in (load(str(tree)), pickle.loads(pickled)):
        np.testing.assert_array_equal(again.views, first.views)
    np.save(tree / members(tree, "train")[0] / "latent_0.npy", np.zeros(7, np.float32))
    with pytest.raises(AssertionError, match="decoded again"):
        load(tree)


def test_rows_are_streamed_into_the_cache(cache):
    rows = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)

    def build(folder):
        with RowsFile(folder / "rows.npy", (2, 3), np.dtype(np.uint8)) as file:
            file.extend(rows[:1])
            file.extend(rows[1:])
        return {"rest": np.arange(3)}

    arrays = streamed_arrays({"name": "streamed"}, build)
    np.testing.assert_array_equal(arrays["rows"], rows)
    np.testing.assert_array_equal(arrays["rest"], [0, 1, 2])
    again = streamed_arrays({"name": "streamed"}, lambda folder: pytest.fail("built again"))
    np.testing.assert_array_equal(again["rows"], rows)

    def unreadable(folder):
        raise OSError("the source is gone")

    with pytest.raises(OSError, match=r"^the source is gone$"):
        streamed_arrays({"name": "other"}, unreadable)
    assert [path.name.split("-")[0] for path in cache.iterdir()] == ["streamed"]


# ---------------------------------------------------------------------------------------------------------------- world


def test_jumps_worked_out_by_hand(by_hand):
    """max_angle 40 degrees: an action (0, 0, a) aims 40 a degrees further about z."""
    vector = StoredViewsVectorEnv(by_hand, max_angle=np.radians(40))
    world = vector.world
    vector.reset(seed=0)
    state = vector.state()

    def jump(view, action):
        state["world.view"][:] = view
        state["world.orientation"][:] = by_hand.quaternions[0, view]
        vector.set_state(state)
        obs, *_, info = vector.step(np.array([[0, 0, action]]))
        assert (obs["glimpse"] == info["view"][0]).all()
        turned = Rotation.from_quat(obs["motion"][0]).as_rotvec(degrees=True)
        np.testing.assert_allclose(info["orientation"][0], by_hand.quaternions[0, info["view"][0]])
        np.testing.assert_allclose(info["latent"][0], by_hand.latents[0, info["view"][0]])
        assert abs(turned[:2]).max() < 1e-4 and obs["motion"][0, 3] >= 0
        return int(info["view"][0]), round(float(turned[2]), 3)

    assert jump(0, 0.0) == (1, 20)  # the current view is never shown again; of two at 20 degrees the first
    assert jump(0, -0.5) == (2, -30)  # -20: nearer to -30 than to 20
    assert jump(0, 0.5) == (1, 20)
    assert jump(1, 0.0) == (5, 0)  # its twin
    assert jump(2, 0.9) == (0, 30)  # 6: nearer to 0 than to 20
    assert jump(4, -1.0) == (2, 60)  # -130: -90 is nearest but current
    assert jump(3, 1.0) == (1, -70)
    # Towards a pose: at the view nearest to it, if it is within reach.
    state["world.view"][:], state["world.orientation"][:] = 2, by_hand.quaternions[0, 2]
    vector.set_state(state)
    for angle, expected in ((-4, 30 / 40), (-84, -1.0), (89, 1.0)):
        action = world.actions_towards(Rotation.from_euler("z", [[angle]], degrees=True).as_quat())
        np.testing.assert_allclose(action, [[0, 0, expected]], atol=1e-9)
    seen = world.view(
        np.zeros(2, np.int64), Rotation.from_euler("z", [[70], [-40]], degrees=True).as_quat(), np.zeros((2, 4))
    )
    assert seen[:, 0, 0, 0].tolist() == [3, 2]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vector_equals_single_bit_for_bit(tree, mode):
    vector, singles = make_vec(tree, autoreset_mode=mode.value), [make(tree) for _ in range(3)]
    obs, info = vector.reset(seed=7)
    seen = [single.reset(seed=7 + i) for i, single in enumerate(singles)]
    rng = np.random.default_rng(0)
    for t in range(4 if mode == AutoresetMode.DISABLED else 14):
        for i, (single_obs, single_info) in enumerate(seen):
            for key, value in {**single_obs, **single_info}.items():
                np.testing.assert_array_equal((obs | info)[key][i], value, err_msg=key)
        actions = rng.uniform(-1.2, 1.2, (3, 3))
        obs, _, _, truncated, info = vector.step(actions)
        restart = t % 5 == 4 if mode == AutoresetMode.NEXT_STEP else bool(truncated.all())
        stepped = (
            []
            if restart and mode == AutoresetMode.NEXT_STEP
            else [single.step(action) for single, action in zip(singles, actions, strict=True)]
        )
        if restart and mode != AutoresetMode.DISABLED:
            seen = [single.reset() for single in singles]
        else:
            seen = [(step[0], step[4]) for step in stepped]


def test_an_env_like_any_other(tree):
    assert ENV_ID in envs.DATA_ENV_IDS and ENV_ID not in envs.ENV_IDS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(tree, render_mode="rgb_array").unwrapped)
    env = make(tree, render_mode="rgb_array")
    _, info = env.reset(seed=3)
    told = {"orientation", "latent", "label", "index", "view", "step_index", "motion_realised", "motion_commanded"}
    assert set(info) == told
    frame = env.render()
    assert frame.ndim == 3 and frame.dtype == np.uint8
    copy = pickle.loads(pickle.dumps(env))
    for action in np.random.default_rng(0).uniform(-1, 1, (3, 3)):
        np.testing.assert_array_equal(env.step(action)[0]["glimpse"], copy.step(action)[0]["glimpse"])


def test_the_commands_take_it(tree, tmp_path, capsys):
    options = {"source": tree, "size": 16, "views_per_object": VIEWS, "max_episode_steps": 3}
    command = [
        "--env",
        ENV_ID,
        "--split",
        "train",
        "--env-options",
        *(str(x) for pair in options.items() for x in pair),
    ]
    play.main(["--agent", "independent", "--record", str(tmp_path / "film.png"), *command])
    assert "3 steps, return 0" in capsys.readouterr().out
    assert (tmp_path / "film.png").stat().st_size > 1000
    dataset.main([str(tmp_path / "data.npz"), "--episodes", "2", *command])
    views = dataset.load_episodes(str(tmp_path / "data.npz")).views
    assert views.shape == (8, 16, 16, 3)
    assert set(views.max(axis=(1, 2, 3)).tolist()) <= set(load(tree).views.max(axis=(2, 3, 4)).reshape(-1).tolist())


def test_state_restores_the_future(tree):
    vector, other = make_vec(tree).unwrapped, make_vec(tree).unwrapped
    vector.reset(seed=2)
    vector.step(np.full((3, 3), 0.3))
    other.set_state(vector.state())
    for action in np.random.default_rng(0).uniform(-1, 1, (8, 3, 3)):
        mine, theirs = vector.step(action), other.step(action)
        for key in mine[0]:
            np.testing.assert_array_equal(mine[0][key], theirs[0][key])
        np.testing.assert_array_equal(mine[4]["view"], theirs[4]["view"])


@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=20, deadline=None)
def test_any_actions_stay_among_the_views(seed, data):
    rng = np.random.default_rng(seed)
    quaternions = Rotation.random(15, rng).as_quat().reshape(3, 5, 4)
    views = rng.integers(256, size=(3, 5, 4, 4, 3), dtype=np.uint8)
    stored = StoredViews(views, quaternions, np.zeros((3, 5, 7)), np.arange(3), ("a", "b", "c"), "train")
    world = StoredViewsWorld(stored, max_angle=data.draw(st.floats(0.01, np.pi)))
    vector = GlimpseVectorEnv(world, num_envs=4)
    obs, info = vector.reset(seed=seed)
    for _ in range(4):
        before, view = Rotation.from_quat(info["orientation"]), info["view"]
        actions = rng.uniform(-2, 2, (4, 3))
        obs, *_, info = vector.step(actions)
        assert obs in vector.observation_space
        goals = before * Rotation.from_rotvec(np.clip(actions, -1, 1) * world.max_angle)
        for row, goal in enumerate(goals):
            distance = (goal.inv() * Rotation.from_quat(quaternions[info["index"][row]])).magnitude()
            distance[view[row]] = np.inf
            assert info["view"][row] == distance.argmin()
        np.testing.assert_array_equal(obs["glimpse"], views[info["index"], info["view"]])
        ended = before * Rotation.from_quat(obs["motion"])
        assert (ended.inv() * Rotation.from_quat(info["orientation"])).magnitude().max() < 1e-5


def test_view_sets_have_different_views_with_their_own_poses(tree):
    world = StoredViewsWorld(load(tree))
    items = np.array([0, 3, 1])
    drawn = make_view_set(world, items, VIEWS, np.random.default_rng(0))
    assert drawn.views.shape == (3, VIEWS, 16, 16, 3)
    orders = []
    for row, item in enumerate(items):
        order = [
            int(np.flatnonzero((world.stored.quaternions[item] == pose).all(axis=1))[0]) for pose in drawn.poses[row]
        ]
        assert sorted(order) == list(range(VIEWS))
        np.testing.assert_array_equal(drawn.views[row], world.stored.views[item, order])
        orders.append(order)
    assert len({tuple(order) for order in orders}) == 3
    np.testing.assert_array_equal(drawn.labels, world.labels[items])
    firsts = world.draw_views(np.zeros(6000, np.int64), np.random.default_rng(1).random((6000, 2, 3)), np.zeros(()))[0]
    which = (firsts[:, :, None] == world.stored.quaternions[0]).all(axis=-1)
    assert np.abs(which.mean(axis=0) - 1 / VIEWS).max() < 0.02  # each view alike, first and second
    with pytest.raises(ValueError, match=f"has {VIEWS} stored views, {VIEWS + 1}"):
        make_view_set(world, items, VIEWS + 1, np.random.default_rng(0))


def test_rows_out_of_step_draw_the_same(by_hand):
    simulator = Simulator(StoredViewsWorld(by_hand), StoredViewsEnv(by_hand).simulator.task, 2)
    simulator.seed(slice(None), np.array([5, 6], np.uint64))
    both = simulator.begin(slice(None))["glimpse"]
    simulator.seed(np.array([1]), np.array([6], np.uint64))
    np.testing.assert_array_equal(simulator.begin(np.array([1]))["glimpse"], both[1:])
