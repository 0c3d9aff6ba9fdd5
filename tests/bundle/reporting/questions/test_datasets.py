"""What differs over datasets: found on four of them where they agree, and not where nothing differs."""

import pytest
from frames import study, together

from entrypoints.reporting.questions.datasets import answer

LEVELS = {"batch_size": [8, 64, 512], "learning_rate": [0.1, 0.01, 0.001], "algorithm": ["a", "b"]}


def made(number, size=1.0, rate=0.3, levels=LEVELS, seed=None, **changes):
    """The study of one dataset of this size."""
    costs = {
        "training_time_s": lambda row: size * (16 / row.get("batch_size", 16) if rate else 1.0),
        "model_memory_mb": lambda row: size + (row.get("batch_size", 0) / 100 if rate else 0.0),
    }
    about = {"dataset": f"/data/d{number}.csv", "key": f"k{number}"} | changes
    seed = number if seed is None else seed
    return study(levels, costs, lambda row: 0.6 + rate * row.get("learning_rate", 0.0), of_study=about, seed=seed)


def test_rates_that_rank_alike_on_all_datasets_change_the_score():
    """Whatever its name and which of its values are better. Four datasets do not rank two levels."""
    frames = [made(number, rate=3.0) for number in range(3)]
    of = {"dataset": "d3"}
    accuracy = study(LEVELS, {}, lambda row: 0.9 - 3 * row["learning_rate"], metric="val_accuracy", seed=3, of_study=of)
    found = answer(together(*frames, accuracy))
    assert "`score` is best at `learning_rate` 0.001 and worst at 0.1" in found.sentences[0]
    assert set(found.table["hyperparameter"]) == {"batch_size", "learning_rate"}


def test_level_at_which_only_cheap_trials_are_left_does_not_look_cheap():
    """Configurations count that ran to their end at each level."""
    frames = []
    for number in range(4):
        frame = made(number)
        dear = (frame.trials["learning_rate"] == 0.1) & (frame.trials["batch_size"] == 8)
        frame.trials.loc[dear, "diverged"] = True
        frames.append(frame)
    table = answer(together(*frames)).table.set_index(["metric", "hyperparameter"])
    assert table.loc[("training_time_s", "learning_rate"), "times"] == pytest.approx(1.0, abs=0.1)


def test_what_three_of_four_datasets_show_and_what_is_too_small_are_not_reported():
    """Of the score what the fourth one turns round, of a cost 2 %."""
    frames = []
    for number in range(4):
        better = -3 if number == 3 else 3
        frames.append(
            study(
                LEVELS,
                {"training_time_s": lambda row: 1 + row["learning_rate"] / 5},
                lambda row, better=better: 0.9 + better * row["learning_rate"],
                noise=0.0,
                seed=number,
                of_study={"dataset": f"d{number}", "key": f"k{number}"},
            )
        )
    table = answer(together(*frames)).table.set_index(["metric", "hyperparameter"])
    assert table.loc[("training_time_s", "learning_rate"), "p_holm"] < 0.05
    assert table.loc[("val_rmse", "learning_rate"), "p_holm"] > 0.05
    assert not table["reported"].any()
