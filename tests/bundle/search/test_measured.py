"""Which trials and figures say how well a study has measured."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reference import MLP_REGRESSOR, configured

from entrypoints.limits.costs import metrics
from entrypoints.limits.noise import of_score
from entrypoints.progress import Progress
from entrypoints.search.measured import measured
from entrypoints.search.record import Record, TrialRecord
from mlflow_sysmetrics.limits import Criteria

TIMES_S = (1.0, 1.2, 1.1, 0.9)


def _record(task: Any, *trials: TrialRecord, criteria: Criteria | None = None) -> Record:
    score = "val_rmse" if task == "regression" else "val_accuracy"
    record = Record(task, Progress(len(trials), score, io.StringIO()), criteria)
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
    """What a model learns, and the number of steps, differ by more than noise between trials of equal cost.

    What follows another cost has a noise, for limits on it, and its order would say the same once more.
    """
    trials = [_trial(number, time_s) for number, time_s in enumerate(TIMES_S)]
    for trial in trials:
        trial.figures["user_cpu_seconds"] = trial.figures["training_time_s"]
    found = measured(_record("regression", *trials))
    assert list(found.noises) == ["val_rmse", "training_time_s", "user_cpu_seconds"]
    assert list(found.order) == ["training_time_s"]
    assert [row["figure"] for row in found.rows] == list(found.noises)


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


def _equal(times_s: dict[int, float], algorithm: str = "linear", criteria: Criteria | None = None) -> str:
    """What is said of models of equal score, the first batch size best; 4 of each, whose costs differ by 2 %."""
    random = np.random.default_rng(0)
    noise = random.normal(scale=0.01, size=(4 * len(times_s), 5))
    noise -= noise.mean(axis=1, keepdims=True)
    trials = []
    for place, (size, alpha) in enumerate((size, alpha) for size in times_s for alpha in (0.1, 0.2, 0.3, 0.4)):
        scores = [0.5 + place * 1e-5 + float(each) for each in noise[place]]
        cost = {"training_time_s": times_s[size] * (1 + place % 4 / 50)} if times_s[size] else {}
        memory = {"peak_memory_mb": 100.0 * size + place % 4, "memory_growth_mb": (size - 2) * (9.0 + place % 4)}
        trials.append(
            TrialRecord(
                str(place),
                replace(configured(algorithm, batch_size=size, alpha=alpha), place=place),
                "FINISHED",
                {"val_rmse": float(np.mean(scores)), **cost, **memory},
                folds=[{"fold": fold, "val_rmse": score} for fold, score in enumerate(scores)],
            )
        )
    record = _record("regression", *trials, criteria=criteria)
    start, _, said = measured(record).equal_to_best(record).partition("from fold to fold): ")
    assert start.startswith(f"The first {len(trials)} of {len(trials)} ")
    return said


@pytest.mark.parametrize(
    ("times_s", "algorithm", "said"),
    [
        pytest.param(
            *({2: 1.0, 64: 0.02, 8: 0.3}, "linear"),
            "choose the cheapest of them, such as batch_size 64, alpha 0.1 with training_time_s 0.02 "
            "(50 times less than the first).",
            id="cheaper",
        ),
        pytest.param(
            *({2: 1.0, 8: 0.4}, "linear"),
            "choose the cheapest of them, such as batch_size 8, alpha 0.1 with training_time_s 0.4 "
            "(2.5 times less than the first).",
            id="a little cheaper",
        ),
        pytest.param(
            *({2: 1.0, 8: 0.41, 16: 0.4}, "linear"),
            "choose the cheapest of them, such as batch_size 8, alpha 0.1 with training_time_s 0.41 "
            "(2.4 times less than the first).",
            id="the best of those that are as cheap",
        ),
        pytest.param(
            *({64: 0.02, 2: 1.0}, "linear"),
            "none of them is over 5 % cheaper than the first (training_time_s 0.02).",
            id="first",
        ),
        pytest.param(
            *({2: 1.0, 4: 0.93}, "linear"),
            "none of them is surely cheaper than the first: training_time_s 0.93 with batch_size 4, alpha 0.1 is 1.1 "
            "times less, which may be noise.",
            id="within noise",
        ),
        pytest.param(
            *({2: 1.0, 8: 0.7}, MLP_REGRESSOR),
            "none of them is surely cheaper than the first: training_time_s 0.7 with batch_size 8, alpha 0.1 is 1.4 "
            "times less, which may be noise.",
            id="within the usual noise",
        ),
        pytest.param(
            *({2: 1.0, 8: 0.4}, MLP_REGRESSOR),
            "choose the cheapest of them, such as batch_size 8, alpha 0.1 with training_time_s 0.4 "
            "(2.5 times less than the first).",
            id="beyond the usual noise",
        ),
        pytest.param({2: 0.0, 8: 0.0}, "linear", "choose the cheapest of them.", id="unknown cost"),
    ],
)
def test_cheapest_of_equal_models_is_named(times_s: dict[int, float], algorithm: str, said: str) -> None:
    """By what differs in the study, with its cost; chosen by the rule of a report: by more than 5 % and noise."""
    assert _equal(times_s, algorithm) == said


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        pytest.param("peak_memory_mb<=900", "peak_memory_mb 200 (4 times less than the first).", id="some"),
        pytest.param("memory_growth_mb<=900", "memory_growth_mb 0 (less than the first).", id="nothing"),
    ],
)
def test_cheapest_of_equal_models_is_that_in_the_first_cost_with_an_upper_limit(limit: str, said: str) -> None:
    """As in a report."""
    criteria = Criteria.parse(f"training_time_s>=0, {limit}, training_time_s<=9", metrics("regression"))
    start = "choose the cheapest of them, such as batch_size 2, alpha 0.1 with"
    assert _equal({8: 0.1, 2: 1.0}, criteria=criteria) == f"{start} {said}"
