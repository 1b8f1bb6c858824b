"""The rollout command's figures: what the pages quote."""

import pytest

from glimpseworld.experiments.intervals import wilson_interval
from glimpseworld.experiments.play import RolloutConfig, parsed_options, rollout

OPTIONS = {"members_per_family": "2", "size": "16", "shadows": "false"}


def play(name, agent, episodes=4, **options):
    return rollout(
        RolloutConfig(env=f"GlimpseWorld/{name}-v0", agent=agent, episodes=episodes, env_options={**OPTIONS, **options})
    )


def test_the_last_line_tells_return_and_success_with_their_intervals():
    lines = play("ObjectReorient", "oracle", goal_angle="[90, 90]", max_angle="1.5707964", success_angle="0.5")
    assert len(lines) == 5
    assert all("1 steps" in line or "2 steps" in line for line in lines[:-1])
    returns = [float(line.rsplit(" ", 1)[1]) for line in lines[:-1]]
    expected = f"GlimpseWorld/ObjectReorient-v0, agent oracle, 4 episodes: mean return {sum(returns) / 4:.3f}"
    assert lines[-1].startswith(expected)
    assert lines[-1].endswith("success 100.0 % [51.0, 100.0]")


def test_where_nothing_counts_no_success_is_told():
    assert "success" not in play("ObjectRotation", "random", 2)[-1]
    assert "+-" not in play("ObjectRotation", "random", 1)[-1]


def test_the_random_agent_draws_every_component():
    lines = play("ObjectClassify", "random", 2, stop="true", max_episode_steps="200")
    assert all(int(line.split(" steps")[0].rsplit(" ", 1)[1]) < 30 for line in lines[:-1])  # a stop of every other step


def test_agents_that_cannot_act_say_why():
    with pytest.raises(ValueError, match="has no goal"):
        play("ObjectRotation", "oracle")
    with pytest.raises(ValueError, match="only moves"):
        play("ObjectClassify", "independent")


def test_options_are_read_as_json_or_as_python_writes_them():
    written = {"a": "False", "b": "true", "c": "None", "d": "(1, 2)", "e": "[0.5, null]", "f": "{'x': True}"}
    assert parsed_options(written) == {
        "a": False,
        "b": True,
        "c": None,
        "d": (1, 2),
        "e": [0.5, None],
        "f": {"x": True},
    }
    plain = {"images": "STL-10/unlabeled_X.bin", "fovea": "crop", "source": "~/data (2)", "objects": "{[1]: 2}"}
    assert parsed_options(plain) == plain


@pytest.mark.parametrize("steps", ["-1", "0", "2.5", "many"])
def test_episodes_that_would_not_end_are_refused(steps):
    message = f"must end: max_episode_steps must be a whole number, at least 1, got '?{steps}"
    for name in ("ObjectRotation", "RotationHoming"):
        with pytest.raises(ValueError, match=message):
            play(name, "random", 1, max_episode_steps=steps)


def test_homing_refuses_episodes_that_end_before_the_agent_acts():
    with pytest.raises(ValueError, match=r"above imposed, 20, .* got 16"):
        play("RotationHoming", "random", 1, imposed="20")
    assert "21 steps" in play("RotationHoming", "random", 1, imposed="20", max_episode_steps="21")[0]


def test_no_number_of_steps_is_that_of_the_id():
    assert "16 steps" in play("ObjectRotation", "random", 1, max_episode_steps="null")[0]


def test_options_of_a_wrong_type_say_so():
    with pytest.raises(ValueError, match="stop must be True or False, got 'no'"):
        play("ObjectClassify", "random", 1, stop="no")


def test_wilsons_interval_is_that_of_the_textbook():
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
