"""Observations with embeddings in the place of images are the model's, episode by episode, also at their ends."""

import numpy as np
import pytest
import torch

from glimpseworld.agents.latent_env import LatentContext, LatentVecEnv
from glimpseworld.agents.online_world_model import OnlineWorldModel
from glimpseworld.agents.sb3 import GlimpseVecEnv
from glimpseworld.envs.environment import GlimpseVectorEnv
from glimpseworld.envs.tasks.homing import compose_saccade_homing
from glimpseworld.envs.tasks.matching import compose_reaching
from glimpseworld.world_model.learner import Learner, LearnerConfig
from glimpseworld.world_model.replay import SequenceReplay
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig
from glimpseworld.world_model.views import normalize_views

B = 3


def small_model():
    torch.manual_seed(0)
    sizes = {"size": 16, "z_dim": 24, "motion_embedding": 8, "predictor_hidden": 32}
    return SeqJEPA(SeqJEPAConfig(motion_dim=2, motion_kind="translation", **sizes)).eval()


def reaching(toy_images, num_envs=B):
    world, task = compose_reaching(toy_images, glimpse_size=16, goal_distance=(0.3, 0.5), success_radius=0.25)
    options = {"num_envs": num_envs, "max_episode_steps": 6, "autoreset_mode": "SameStep"}
    return GlimpseVecEnv(GlimpseVectorEnv(world, task, **options))


def embed(model, image):
    with torch.no_grad():
        return model.encode(normalize_views(np.asarray(image)[None])[:, None])[0, 0]


def walk(toy_images, model, latent, steps=40):
    """Yield, for the same actions, observations below and above, with dones and infos of both."""
    below, above = reaching(toy_images), LatentVecEnv(reaching(toy_images), model, latent)
    below.seed(5), above.seed(5)
    yield below.reset(), above.reset(), np.ones(B, dtype=bool), [{}] * B, [{}] * B
    rng = np.random.default_rng(0)
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (B, 2)).astype(np.float32)
        raw, _, dones, infos = below.step(actions)
        latents, _, dones_above, infos_above = above.step(actions)
        np.testing.assert_array_equal(dones, dones_above)
        yield raw, latents, dones, infos, infos_above


def close(found, expected):
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)


def test_z_is_the_models_embedding_of_every_view_and_goal(toy_images):
    model, ends = small_model(), 0
    for raw, latents, dones, infos, embedded in walk(toy_images, model, "z"):
        assert set(latents) == {"z", "z_goal", "motion"}
        for row in range(B):
            close(latents["z"][row], embed(model, raw["glimpse"][row]))
            close(latents["z_goal"][row], embed(model, raw["goal"][row]))
            if dones[row] and infos[row]:
                last, made = infos[row]["terminal_observation"], embedded[row]["terminal_observation"]
                close(made["z"], embed(model, last["glimpse"]))
                close(made["z_goal"], embed(model, last["goal"]))
                np.testing.assert_array_equal(made["motion"], last["motion"])
                ends += 1
        np.testing.assert_array_equal(latents["motion"], raw["motion"])
    assert ends > 10


def test_z_agg_is_of_the_last_three_views_of_the_episode(toy_images):
    model, ends = small_model(), 0
    seen = [[] for _ in range(B)]  # (z, motion) of each view since the reset

    def aggregate(views):
        z, motions = zip(*views[-3:], strict=True)
        with torch.no_grad():
            between = torch.from_numpy(np.array(motions[1:], dtype=np.float32).reshape(1, -1, 2))
            return model.aggregate(torch.stack(z)[None], between)[0]

    for raw, latents, dones, infos, embedded in walk(toy_images, model, "z_agg"):
        for row in range(B):
            if dones[row] and infos[row]:
                last = infos[row]["terminal_observation"]
                seen[row].append((embed(model, last["glimpse"]), last["motion"]))
                close(embedded[row]["terminal_observation"]["z_agg"], aggregate(seen[row]))
                close(embedded[row]["terminal_observation"]["z_goal"], embed(model, last["goal"]))
                ends += len(seen[row]) > 3
            if dones[row]:
                seen[row] = []
            seen[row].append((embed(model, raw["glimpse"][row]), raw["motion"][row]))
            close(latents["z_agg"][row], aggregate(seen[row]))
    assert ends > 5


def test_a_step_is_one_call_of_the_encoder_and_leaves_a_learning_model_as_it_was(toy_images):
    model = small_model().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    calls = []
    model.encoder.register_forward_hook(lambda module, *_: calls.append(module.training))
    count = sum(1 for _ in walk(toy_images, model, "z_agg", steps=12))
    assert calls == [False] * count
    assert model.training and model.encoder.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_statistics_follow_the_first_steps_and_then_stand_still(toy_images):
    model = small_model()
    plain = LatentVecEnv(reaching(toy_images), model, "z")
    settling = LatentVecEnv(reaching(toy_images), model, "z", settle=2)
    actions = np.ones((B, 2))
    for env in (plain, settling):
        env.seed(0)
    raw = [plain.reset(), *(plain.step(actions)[0] for _ in range(3))]
    made = [settling.reset(), *(settling.step(actions)[0] for _ in range(3))]
    means = [one["z"].mean(axis=0) for one in raw]
    stds = [np.sqrt(one["z"].var(axis=0) + 1e-6) for one in raw]
    np.testing.assert_allclose(made[0]["z"], (raw[0]["z"] - means[0]) / stds[0], atol=1e-3)
    mean, std = (means[0] + means[1]) / 2, (stds[0] + stds[1]) / 2
    for n in (1, 2, 3):
        np.testing.assert_allclose(made[n]["z"], ((raw[n]["z"] - mean) / std).clip(-10, 10), atol=1e-3)
        np.testing.assert_allclose(made[n]["z_goal"], ((raw[n]["z_goal"] - mean) / std).clip(-10, 10), atol=1e-3)
    assert settling.context.settle == 0


def test_a_row_alone_is_embedded_as_in_company_and_a_state_is_restored(toy_images):
    model, env = small_model(), reaching(toy_images)
    space = env.observation_space
    together, alone = LatentContext(model, space, B, "z_agg"), LatentContext(model, space, 1, "z_agg")
    observation = env.reset()
    first = np.ones(B, dtype=bool)
    for _ in range(9):
        kept = together.state()
        made, _ = together.observe(observation, first)
        lone, _ = alone.observe({key: value[1:2] for key, value in observation.items()}, first[1:2])
        for key, value in lone.items():
            np.testing.assert_allclose(value[0], made[key][1], atol=2e-5)
        after = together.state()
        together.set_state(kept)
        again, _ = together.observe(observation, first)
        np.testing.assert_array_equal(again["z_agg"], made["z_agg"])
        np.testing.assert_array_equal(together.state()["held"], after["held"])
        observation, _, first, _ = env.step(np.random.default_rng(0).uniform(-1, 1, (B, 2)))


def test_a_model_of_another_world_is_refused(toy_images):
    space = reaching(toy_images).observation_space
    sizes = {"z_dim": 24, "motion_embedding": 8, "predictor_hidden": 32}
    with pytest.raises(ValueError, match=r"\(16, 16, 3\), and the world model's \(32, 32, 3\)"):
        LatentContext(SeqJEPA(SeqJEPAConfig(motion_dim=2, size=32, **sizes)), space, B, "z")
    with pytest.raises(ValueError, match="environment are of 2 numbers, and the world model's of 4"):
        LatentContext(SeqJEPA(SeqJEPAConfig(motion_dim=4, size=16, **sizes)), space, B, "z")


def online(toy_images, model, ratio=6.0, warmup=12):
    world, task = compose_saccade_homing(toy_images, glimpse_size=16, success_radius=0.0)
    envs = GlimpseVectorEnv(world, task, num_envs=4, max_episode_steps=6, autoreset_mode="SameStep")
    learner = Learner(model, LearnerConfig(total_steps=50, warmup_steps=2))
    replay = SequenceReplay(400, (16, 16, 3), "translation", 2, 4)
    return OnlineWorldModel(
        GlimpseVecEnv(envs),
        learner,
        replay,
        glimpses_per_update=ratio,
        warmup_glimpses=warmup,
        batch_size=4,
        rng=np.random.default_rng(0),
    )


def test_a_world_model_learns_online_at_the_stated_ratio(toy_images):
    model = small_model()
    before = model.state_dict()["encoder." + next(iter(model.encoder.state_dict()))].clone()
    below = online(toy_images, model)
    env = LatentVecEnv(below, model, "z_agg", settle=None)
    env.reset()
    assert (below.glimpses, below.updates) == (4, 0)
    for step in range(1, 14):
        env.step(np.zeros((4, 2)))
        assert below.glimpses == 4 * (step + 1) == len(below.replay)
        # Windows of 5 views (3 in the context, 2 targets) are there from the fourth step on; then what was due is made
        # up for.
        due = max(0, (below.glimpses - 12) // 6) if step >= 4 else 0
        assert below.updates == below.learner.steps == due
    assert due == 7
    assert not torch.equal(before, model.state_dict()["encoder." + next(iter(model.encoder.state_dict()))])
    windows = below.replay.sample(50, context=3, targets=2, mode="adjacent", generator=np.random.default_rng(0))
    assert set(np.diff(windows.step, axis=1).ravel()) == {1}  # no window crosses an episode
    assert {0, 1} <= set(windows.episode)


@pytest.mark.parametrize("ratio", [0.0, float("nan"), float("inf")])
def test_a_ratio_that_no_update_can_keep_is_refused(toy_images, ratio):
    with pytest.raises(ValueError, match="glimpses_per_update must be above 0 and finite"):
        online(toy_images, small_model(), ratio=ratio)


def test_statistics_keep_following_a_model_that_learns(toy_images):
    model = small_model()
    env = LatentVecEnv(online(toy_images, model), model, "z_agg", settle=None)
    env.reset()
    before = env.context.statistics["z_agg"].mean.clone()
    for _ in range(8):
        env.step(np.zeros((4, 2)))
    assert env.context.statistics["z_agg"].batches == 9 and env.context.settle is None
    assert not torch.equal(before, env.context.statistics["z_agg"].mean)
