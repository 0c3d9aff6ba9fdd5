"""What is said over datasets of studies in which levels do nothing, and of what is in no study's way."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run, RunData, RunInfo, RunTag

from entrypoints.reporting.comparison.compare import compare
from entrypoints.reporting.studies import Study

GRID = list(itertools.product((2, 8, 32, 128), (0.1, 0.01, 0.001)))


def _study(dataset: str, random: np.random.Generator) -> Study:
    """Every figure is random: half of the scores and costs hang together."""
    tags = [RunTag("sysmetrics.dataset", dataset)]
    run = Run(RunInfo(dataset, "0", "me", "FINISHED", 0, 1, "active", run_name="tune"), RunData(tags=tags))
    trials: pd.DataFrame = pd.DataFrame(GRID, columns=["batch_size", "learning_rate"])
    names = ("val_rmse", "training_time_s", "peak_memory_mb", "rows_per_s")
    figures = {name: random.lognormal(size=len(GRID)) for name in names}
    trials = trials.assign(status="FINISHED", diverged=False, run_id=dataset, elapsed_s=figures["val_rmse"], **figures)
    return Study(run, trials, pd.DataFrame(), ["batch_size", "learning_rate"], "val_rmse", False)


def test_levels_that_do_nothing_are_rarely_called_different(client: MlflowClient) -> None:
    """Of six reports on random figures, each of ten tests, one at most says anything: a report does in 5 %."""
    random, said = np.random.default_rng(0), 0
    for _ in range(6):
        comparison = compare(client, [_study(f"d{each}", random) for each in range(5)])
        assert len(comparison.found.tables["tests"]) == 10
        said += comparison.found.tables["tests"]["told"].any()
    assert said <= 1


def test_verdict_is_by_the_larger_of_two_p_values(client: MlflowClient) -> None:
    """With few datasets that of Iman and Davenport alone finds something in a fifth of reports on random figures."""
    random = np.random.default_rng(0)
    tests = compare(client, [_study(f"d{each}", random) for each in range(3)]).found.tables["tests"]
    larger = tests[["iman_davenport_p", "permutation_p"]].max(axis=1)
    assert tests["p_value"].tolist() == larger.tolist()
    assert (tests["permutation_p"] > tests["iman_davenport_p"]).any()


def test_studies_without_a_common_hyperparameter_say_so(client: MlflowClient) -> None:
    """And nothing is tested."""
    random = np.random.default_rng(0)
    other = _study("b", random)
    other.hyperparameters.clear()
    comparison = compare(client, [_study("a", random), other])
    assert "tests" not in comparison.found.tables
    assert comparison.found.open_questions == [
        "What hyperparameters change: there is none that varies in all of these studies."
    ]


def test_random_searches_with_diverged_trials_say_why_they_cannot_be_compared(client: MlflowClient) -> None:
    """No configuration of the other hyperparameters was tried at more than one level."""
    random = np.random.default_rng(0)
    studies = [_study(name, random) for name in "ab"]
    for study in studies:
        study.trials["learning_rate"] = random.uniform(size=len(GRID))
        study.trials.loc[0, "diverged"] = True
    found = compare(client, studies).found
    assert "tests" not in found.tables
    (said,) = [each for each in found.open_questions if "no configuration did so at each level" in each]
    assert said.startswith("`val_rmse` by `batch_size`, `peak_memory_mb` by `batch_size`, ")
    assert said.endswith("as is usual in a random search.")
