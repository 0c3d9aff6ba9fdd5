"""What differs over datasets: found on four of them where they agree, and not where nothing differs."""

import pytest
from frames import study, together

from entrypoints.reporting.questions.datasets import answer

LEVELS = {"batch_size": [8, 64, 512], "learning_rate": [0.1, 0.01, 0.001], "algorithm": ["a", "b"]}
TIME = "training_time_s"


def made(
    number, score=lambda row: 0.6 + 3 * row["learning_rate"], seconds=lambda row: 16 / row["batch_size"], **changes
):
    """The study of one dataset."""
    about = {"dataset": f"/data/d{number}.csv", "key": f"k{number}"}
    return study(LEVELS, {TIME: seconds}, score, of_study=about, seed=number, **changes)


def found(frames):
    """What is said of these studies: a row for each metric and hyperparameter."""
    return answer(together(*frames)).table.set_index(["metric", "hyperparameter"])


def test_rates_that_rank_alike_on_all_datasets_change_the_score():
    """Whatever its name and which of its values are better. Four datasets do not rank two levels."""
    accuracy = made(3, lambda row: 0.9 - 3 * row["learning_rate"], metric="val_accuracy")
    said = answer(together(*map(made, range(3)), accuracy))
    assert "`score` is best at `learning_rate` 0.001 and worst at 0.1" in said.sentences[0]
    assert set(said.table["hyperparameter"]) == {"batch_size", "learning_rate"}


def test_level_at_which_only_cheap_trials_are_left_does_not_look_cheap():
    """Configurations count that ran to their end at each level."""
    frames = [made(number) for number in range(4)]
    for frame in frames:
        dear = (frame.trials["learning_rate"] == 0.1) & (frame.trials["batch_size"] == 8)
        frame.trials.loc[dear, "diverged"] = True
    assert found(frames).loc[(TIME, "learning_rate"), "times"] == pytest.approx(1.0, abs=0.1)


def test_what_three_of_four_datasets_show_and_what_is_too_small_are_not_reported():
    """Of the score what the fourth one turns round, of a cost 2 %."""
    costs = {"seconds": lambda row: 1 + row["learning_rate"] / 5, "noise": 0.0}
    frames = [made(number, **costs) for number in range(3)]
    frames.append(made(3, lambda row: 0.9 - 3 * row["learning_rate"], **costs))
    table = found(frames)
    assert table.loc[(TIME, "learning_rate"), "p_holm"] < 0.05
    assert table.loc[("val_rmse", "learning_rate"), "p_holm"] > 0.05
    assert not table["reported"].any()
