"""Which trials and figures say how well a study has measured."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reference import configured

from entrypoints.limits.noise import of_score
from entrypoints.progress import Progress
from entrypoints.search.measured import measured
from entrypoints.search.record import Record, TrialRecord

TIMES_S = (1.0, 1.2, 1.1, 0.9)


def _record(task: Any, *trials: TrialRecord) -> Record:
    score = "val_rmse" if task == "regression" else "val_accuracy"
    record = Record(task, Progress(len(trials), score, io.StringIO()))
    record.trials = {trial.trial_id: trial for trial in trials}
    return record


def _trial(number: int, time_s: float, **changes: Any) -> TrialRecord:
    """One of several that differ by a penalty, which costs nothing."""
    figures = {"val_rmse": 0.7 + number, "test_rmse": 0.7, "train_loss": 0.5, "steps": 60.0, "training_time_s": time_s}
    usual: dict[str, Any] = {"status": "FINISHED", "figures": figures}
    configuration = replace(configured(alpha=0.1 * (number + 1)), place=number)
    return TrialRecord(str(number), configuration, **usual | changes)


def test_noise_is_of_trials_that_ran_to_their_end() -> None:
    """Those that were stopped, failed or diverged have not cost what their configuration does."""
    ended = [_trial(number, time_s) for number, time_s in enumerate(TIMES_S)]
    others = [
        _trial(7, 0.01, status="KILLED"),
        _trial(8, 0.02, status="FAILED"),
        _trial(9, 0.03, diverged=True),
    ]
    noise = measured(_record("regression", *ended, *others)).noises["training_time_s"]
    assert noise.noise == pytest.approx(float(np.std(np.log(TIMES_S), ddof=1)))
    assert noise.degrees_of_freedom == len(TIMES_S) - 1


def test_only_costs_and_the_score_have_noise_and_only_costs_an_order() -> None:
    """What a model learns, and the number of steps, differ by more than noise between trials of equal cost."""
    found = measured(_record("regression", *(_trial(number, time_s) for number, time_s in enumerate(TIMES_S))))
    assert list(found.noises) == ["val_rmse", "training_time_s"]
    assert list(found.order) == ["training_time_s"]
    assert [row["figure"] for row in found.rows] == ["val_rmse", "training_time_s"]


def test_row_of_a_cost_says_what_the_order_does_to_it() -> None:
    """Here each trial takes longer than the one before it; nothing is said of the score."""
    score, cost = measured(_record("regression", *(_trial(number, 1.0 + number) for number in range(12)))).rows
    assert cost["order_correlation"] == pytest.approx(1.0)
    assert cost["order_told"] is True
    assert "order_correlation" not in score


@pytest.mark.parametrize(("task", "score"), [("regression", "val_rmse"), ("classification", "val_accuracy")])
def test_noise_of_the_score_is_of_the_better_models(task: Any, score: str) -> None:
    """Which are those of a low error, or of a high accuracy; the worse half here differs far more."""
    random = np.random.default_rng(0)
    low, high = random.normal(0.1, 0.001, (6, 5)), random.normal(0.9, 0.05, (6, 5))
    folds = [list(map(float, each)) for each in [*low, *high]]
    trials = [
        _trial(
            number,
            time_s=1.0,
            figures={score: float(np.mean(each))},
            folds=[{"fold": float(fold), score: value} for fold, value in enumerate(each)],
        )
        for number, each in enumerate(folds)
    ]
    found = measured(_record(task, *trials))
    expected = of_score(score, folds, higher_is_better=task == "classification")
    assert found.noises[score].noise == pytest.approx(expected.noise)
    assert found.score_margin == pytest.approx(expected.margin)
    assert expected.noise != pytest.approx(of_score(score, folds, higher_is_better=task == "regression").noise, rel=0.5)
