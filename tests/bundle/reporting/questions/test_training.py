"""What is said of curves holds for what was planted in them, and nothing is said where nothing changes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_up_frames import study

from entrypoints.reporting.questions.training import answer, learning_curves

Curve = Callable[[Mapping[str, Any], float], float]
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


@pytest.mark.parametrize(
    ("curves", "words"),
    [
        ({"val_loss": lambda row, share: 1 - share / 2}, "`val_loss` falls by 50 % and still falls at the end."),
        (
            {"train_loss": lambda row, share: falls(0.4 if row["algorithm"] == "svm" else 0.6)(row, share)},
            "`train_loss` falls by 40 % (logistic) and 60 % (svm) and is level after 20 % of the training.",
        ),
        (
            {"val_accuracy": lambda row, share: 0.77 - 0.27 * float(np.exp(-12 * share))},
            "`val_accuracy` rises from 0.5 to 0.77 and is level after 20 % of the training.",
        ),
    ],
    ids=["still falling", "two algorithms", "score"],
)
def test_what_is_learned_is_said_with_where_it_becomes_level(curves, words):
    """From step 0 on, before which a model knows nothing."""
    assert answer(made(curves)).sentences == (words,)


def test_curve_that_hardly_changes_is_level_within_its_noise():
    """An accuracy of few rows jumps by one of them at each report: at its end it does not still rise for that."""
    frame = made({"val_accuracy": noisy(lambda share: 0.76 - 0.04 * float(np.exp(-30 * share)), 0.002)})
    (said,) = answer(frame).sentences
    assert said.startswith("`val_accuracy` rises from 0.72 to 0.76 and is level after ")
    assert learning_curves(frame)["level_share"].iloc[0] < 0.5


def test_loss_that_falls_in_some_trials_and_rises_in_others_is_not_summed_up():
    """The table has it."""
    frame = made({"val_loss": lambda row, share: 1 + (share if row["batch_size"] == 8 else -share)})
    found = answer(frame)
    assert found.sentences == ()
    assert set(found.table["verdict"]) == {"unclear"}


def test_leak_is_found_with_an_interval_that_holds_it():
    """In eight trials, over what the process holds anyway."""
    holds, leak_mb = 0, 0.5
    for seed in range(20):
        frame = made({"memory_mb": noisy(lambda share: 177 + leak_mb * share, 0.05, seed)})
        (row,) = learning_curves(frame).to_dict("records")
        assert row["verdict"] == "rises"
        holds += row["low"] <= leak_mb <= row["high"]
    assert holds >= 17
    assert answer(frame).sentences[0].startswith(f"`memory_mb` rises by {leak_mb:.2g}")


def test_first_reading_is_no_part_of_a_trend():
    """It is that of a process that warms up, and would make a short curve fall."""
    frame = made({"step_time_ms": lambda row, share: 1.0 if share else 3.0})
    short = replace(frame, curves=frame.curves.groupby("trial_id").head(4))
    assert answer(short).sentences == ("`step_time_ms` stays within 5 %.",)


def test_score_that_is_noise_leads_to_no_claim():
    """Three trials end all above or all below their first point in a quarter of studies."""
    claims = 0
    for seed in range(60):
        curves = {"val_accuracy": noisy(lambda share: 0.7, 0.005, seed)}
        frame = study({"batch_size": [8, 64, 512]}, curves=curves, metric="val_accuracy")
        claims += bool(answer(frame).sentences)
    assert claims <= 1


def test_costs_that_change_are_reported_from_one_percent_on():
    """And p-values are as small as they say by chance: of 40 studies that change nothing, 4 have one below a tenth."""
    below, reported, others = 0, [0.0], [1.0]
    for seed in range(40):
        (still,) = learning_curves(made({"cpu_percent": noisy(lambda share: 1.0, 0.1, seed)})).to_dict("records")
        below += still["p_holm"] < 0.1
        (row,) = learning_curves(made({"cpu_percent": noisy(lambda share: 1 + 0.1 * share, 0.1, seed)})).to_dict(
            "records"
        )
        (reported if row["verdict"] == "rises" else others).append(row["p_holm"])
    assert below <= 7
    assert 0.005 < max(reported) < 0.01 < min(others) < 0.02
