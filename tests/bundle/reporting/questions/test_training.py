"""What is said of curves holds for what was planted in them, and nothing is said where nothing changes."""

from dataclasses import replace

import numpy as np
from cases import cases
from frames import study

from entrypoints.reporting.questions.training import answer, learning_curves

LEVELS = {"batch_size": [8, 64], "learning_rate": [0.01, 0.001], "algorithm": ["logistic", "svm"]}


def falls(to):
    """A loss that falls from 1 and becomes level."""
    return lambda row, share: to + (1 - to) * float(np.exp(-12 * share))


def noisy(of, sd, seed=0):
    """A cost at each share of the training, with noise."""
    random = np.random.default_rng(seed)
    return lambda row, share: of(share) + float(random.normal(0, sd))


def made(curves, steps=None, **changes):
    """Eight trials, of a thousand steps each unless it is said."""
    costs = {"steps": steps} if steps else {}
    return study(LEVELS, costs, curves=curves, metric="val_accuracy", noise=0, **changes)


@cases(
    "curves, words",
    {
        "still falling": (
            {"val_accuracy": lambda row, share: 1 - share / 2},
            "`val_accuracy` falls from 1 to 0.5 and still falls at the end.",
        ),
        "score": (
            {"val_accuracy": lambda row, share: 0.77 - 0.27 * float(np.exp(-12 * share))},
            "`val_accuracy` rises from 0.5 to 0.77 and is level after 20 % of the training.",
        ),
    },
)
def test_what_is_learned_is_said_with_where_it_becomes_level(curves, words):
    """From step 0 on, before which a model knows nothing."""
    assert answer(made(curves)).sentences == (words,)


def test_loss_is_said_of_one_algorithm_alone():
    """Those of two are different functions."""
    curves = {"train_loss": falls(0.4)}
    assert answer(made(curves)).sentences == ()
    (said,) = answer(study({"alpha": [0.1, 0.2, 0.3, 0.4]}, curves=curves)).sentences
    assert said == "`train_loss` falls from 1 to 0.4 and is level after 20 % of the training."


def test_curve_that_hardly_changes_is_level_within_its_noise():
    """An accuracy of few rows jumps by one of them at each report: at its end it does not still rise for that."""
    frame = made({"val_accuracy": noisy(lambda share: 0.76 - 0.04 * float(np.exp(-30 * share)), 0.002)})
    (row,) = learning_curves(frame).to_dict("records")
    assert row["verdict"] == "rises"
    assert row["level_share"] < 0.5


def test_score_that_falls_in_some_trials_and_rises_in_others_is_not_summed_up():
    """The table has it."""
    found = answer(made({"val_accuracy": lambda row, share: 1 + (share if row["batch_size"] == 8 else -share)}))
    assert found.sentences == ()
    assert set(found.table["verdict"]) == {"unclear"}


def test_leak_is_found_with_an_interval_that_holds_it():
    """In eight trials, over what the process holds anyway."""
    (row,) = learning_curves(made({"memory_mb": noisy(lambda share: 177 + share / 2, 0.05)})).to_dict("records")
    assert row["verdict"] == "rises"
    assert row["low"] <= 0.5 <= row["high"]


def test_first_reading_is_no_part_of_a_trend():
    """It is that of a process that warms up, and would make a short curve fall."""
    frame = made({"step_time_ms": lambda row, share: 1.0 if share else 3.0})
    short = replace(frame, curves=frame.curves.groupby("trial_id").head(4))
    assert [*learning_curves(short)["verdict"]] == ["steady"]


def test_score_that_is_noise_leads_to_no_claim():
    """Though all three trials end above their first point."""
    frame = study(
        {"batch_size": [8, 64, 512]}, curves={"val_accuracy": noisy(lambda share: 0.7, 0.005)}, metric="val_accuracy"
    )
    ends = frame.curves["at"] == frame.curves["at"].max()
    frame.curves.loc[ends, "value"] = 0.702
    frame.curves.loc[frame.curves["at"] == 0, "value"] = 0.698
    assert [*learning_curves(frame)["verdict"]] == ["unclear"]


@cases("seed, least, most, verdict", [(4, 0.0, 0.01, "rises"), (3, 0.01, 0.05, "unclear")])
def test_costs_that_change_are_reported_from_one_percent_on(seed, least, most, verdict):
    (row,) = learning_curves(made({"cpu_percent": noisy(lambda share: 1 + share / 10, 0.1, seed)})).to_dict("records")
    assert least < row["p_holm"] < most
    assert row["verdict"] == verdict


def test_ends_are_written_with_the_digits_that_tell_them_apart():
    """Not as a fall from 1.3 to 1.3."""
    curves = {"val_rmse": lambda row, share: 1.278 + 0.024 * (1 - share) ** 8}
    (said,) = answer(study({"alpha": [0.1, 0.2, 0.3, 0.4]}, curves=curves)).sentences
    assert said.startswith("`val_rmse` falls from 1.3 to 1.28 ")
