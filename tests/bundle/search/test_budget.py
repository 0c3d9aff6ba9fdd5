"""What was spent and saved: by trial, by rule, and what a configuration is recognised by."""

from __future__ import annotations

import io
from dataclasses import astuple
from math import nan
from types import SimpleNamespace
from typing import Any

import pytest
from reference import configured

from entrypoints.limits.stop_or_skip import EarlyEnd, How
from entrypoints.models.configuration import Configuration
from entrypoints.progress import Progress
from entrypoints.search.budget import Budget, Spending, account, spent, total
from entrypoints.search.record import Record, TrialRecord
from mlflow_sysmetrics.limits import Stop

A, B, C, D = (configured(batch_size=size) for size in (8, 16, 32, 64))
FULL = {each.key: Spending(cpu_s, 2 * cpu_s) for each, cpu_s in ((A, 10.0), (B, 20.0), (C, 30.0))}


def _ended(criterion: str, how: How) -> EarlyEnd:
    return EarlyEnd(Stop(criterion, criterion.partition("<")[0], 9.0, 1.0, 100), how)


def _trial(configuration: Configuration, wall_s: float, **values: Any) -> TrialRecord:
    """A trial that used half of its wall time."""
    figures = {"elapsed_s": wall_s, "cpu_seconds": wall_s / 2}
    return TrialRecord("id", configuration, **{"status": "KILLED", "figures": figures, **values})


def _account(*trials: TrialRecord) -> Budget:
    return account(iter(trials), FULL, "somewhere")


@pytest.mark.parametrize(
    ("figures", "cpu_s", "wall_s"),
    [
        pytest.param({"elapsed_s": 4.0, "cpu_seconds": 1.0}, 1.0, 4.0, id="quarter of a core"),
        pytest.param({"elapsed_s": 4.0, "cpu_seconds": 6.0}, 6.0, 4.0, id="more than a core"),
        pytest.param({"elapsed_s": 4.0}, 4.0, 4.0, id="unknown CPU time is that of a core"),
        pytest.param({"elapsed_s": 4.0, "cpu_seconds": None}, 4.0, 4.0, id="a row without CPU time"),
        pytest.param({}, nan, nan, id="nothing known"),
    ],
)
def test_spending_is_read_from_a_trials_figures(figures: Any, cpu_s: float, wall_s: float) -> None:
    """Its CPU time and its wall time."""
    assert astuple(spent(figures)) == pytest.approx((cpu_s, wall_s), nan_ok=True)


def test_spendings_add_up_and_never_fall_below_nothing() -> None:
    """Both parts by themselves."""
    assert total([Spending(1.0, 2.0), Spending(3.0, 4.0)]) == Spending(4.0, 6.0)
    assert total([]) == Spending(0.0, 0.0)
    assert Spending(5.0, 2.0).less(Spending(3.0, 4.0)) == Spending(2.0, 0.0)
    assert Spending(2.0, 5.0).less(Spending(4.0, 3.0)) == Spending(0.0, 2.0)


def test_all_trials_spend_and_stopped_ones_save() -> None:
    """What is left of the full cost of the same configuration; finished and failed trials save nothing."""
    budget = _account(
        _trial(A, 20.0, status="FINISHED"),
        _trial(B, 10.0, ending=_ended("training_time_s<=1", "crossed")),
        _trial(C, 2.0, status="FAILED"),
    )
    assert budget.spent == Spending(16.0, 32.0)
    assert budget.saved == Spending(15.0, 30.0)
    assert budget.saved_cpu_percent == pytest.approx(100 * 15 / 31)
    assert budget.saved_wall_percent == pytest.approx(100 * 30 / 62)


def test_savings_are_counted_by_rule() -> None:
    """A criterion's crossings and its predictions apart; a time limit, a scheduler and a person are rules, too."""
    budget = _account(
        _trial(A, 2.0, ending=_ended("a<=1", "crossed")),
        _trial(B, 2.0, ending=_ended("a<=1", "crossed")),
        _trial(C, 2.0, ending=_ended("a<=1", "predicted")),
        _trial(C, 4.0, ending=_ended("b<=1", "crossed")),
        _trial(A, 4.0, cut_off=True),
        _trial(B, 4.0),
        _trial(C, 4.0, by_person=True),
    )
    assert budget.rows() == [
        {
            "reason": reason,
            "trials": trials,
            "saved_cpu_s": cpu_s,
            "saved_wall_s": wall_s,
            "counted_against": "somewhere",
        }
        for reason, trials, cpu_s, wall_s in [
            ("a<=1, crossed", 2, 28.0, 56.0),
            ("a<=1, predicted", 1, 29.0, 58.0),
            ("b<=1, crossed", 1, 28.0, 56.0),
            ("time limit", 1, 8.0, 16.0),
            ("scheduler", 1, 18.0, 36.0),
            ("person", 1, 28.0, 56.0),
        ]
    ]
    assert budget.saved == Spending(139.0, 278.0)


@pytest.mark.parametrize("end", ["scheduler", "time limit", "error"])
def test_trial_that_ends_without_a_last_word_has_spent_what_its_results_said(end: str) -> None:
    """Tune ends it after a result on its way; only the rest of what it would have cost is saved."""
    trial: Any = SimpleNamespace(trial_id="a", config={"configuration": A}, error_file=None)
    record = Record("regression", Progress(1, "val_rmse", io.StringIO()))
    record.on_trial_start(0, [], trial)
    for wall_s in (9.0, 18.0):
        trial.last_result = {"figures": {"elapsed_s": wall_s, "cpu_seconds": wall_s / 2}, "ended": False}
        record.on_trial_result(0, [], trial, trial.last_result)
    if end == "scheduler":
        record.on_trial_complete(0, [], trial)
    elif end == "error":
        record.on_trial_error(0, [], trial)
    record.on_experiment_end([])
    budget = _account(*record.trials.values())
    assert budget.spent == Spending(9.0, 18.0)
    assert budget.by_reason == ({} if end == "error" else {end: Spending(1.0, 2.0)})


def test_skipped_trial_saves_all_that_it_would_have_cost() -> None:
    """But for what it took to say so."""
    budget = _account(_trial(C, 0.0, ending=_ended("a<=1", "skipped")))
    assert budget.saved == Spending(30.0, 60.0)
    assert budget.spent == Spending()
    assert budget.saved_cpu_percent == 100


def test_trial_that_does_not_say_what_it_spent_is_left_out_and_counted() -> None:
    """It would count as if it had spent nothing and saved all, as one that was cut off before its first result."""
    known = _trial(A, 2.0, cut_off=True)
    budget = _account(known, _trial(B, 0.0, figures={}, cut_off=True), _trial(C, 0.0, figures={}, status="FAILED"))
    assert (budget.spent, budget.saved) == (_account(known).spent, _account(known).saved)
    assert (budget.stopped, budget.unknown) == ({"time limit": 1}, 2)


def test_configuration_of_unknown_cost_saves_nothing() -> None:
    """It is still counted as stopped."""
    budget = _account(_trial(D, 1.0, ending=_ended("a<=1", "crossed")))
    assert budget.saved == Spending()
    assert budget.stopped == {"a<=1, crossed": 1}


def test_trial_that_was_stopped_later_than_a_full_one_takes_saves_nothing() -> None:
    """A slower machine does not make a saving negative."""
    assert _account(_trial(A, 100.0, ending=_ended("a<=1", "crossed"))).saved == Spending()


def test_study_without_trials_has_an_empty_budget() -> None:
    """Shares of nothing are 0."""
    budget = _account()
    assert (budget.spent, budget.saved, budget.rows()) == (Spending(), Spending(), [])
    assert (budget.saved_cpu_percent, budget.saved_wall_percent) == (0.0, 0.0)
