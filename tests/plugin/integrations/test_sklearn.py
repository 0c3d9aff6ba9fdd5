"""The callback for scikit-learn on real searches: their runs, what a limit skips, and how they end."""

import contextlib
import gc
import pickle
import re
import sys
from itertools import count

import joblib
import mlflow
import numpy as np
import pytest
from cases import cases
from commands import children, runs_of_kind
from fits import Fit
from sklearn.ensemble import BaggingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlflow_sysmetrics import Limits
from mlflow_sysmetrics.integrations.sklearn import Search, SystemMetricsCallback
from mlflow_sysmetrics.metrics import SUMMARY

pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks since 1.9")
X, y = np.arange(40.0).reshape(-1, 1), np.arange(40) % 2
SCALED = make_pipeline(StandardScaler(), LogisticRegression())
RATES = {"logisticregression__C": [0.1, 1.0, 10.0]}
RAISE = {"error_score": "raise"}
SEARCHES = [
    GridSearchCV(SCALED, RATES, cv=3),
    RandomizedSearchCV(SCALED, RATES, n_iter=2, cv=3),
    # Of six rows drawn at random all may be of one class.
    HalvingGridSearchCV(SCALED, RATES, cv=3, n_jobs=2, min_resources=10, factor=2, random_state=0),
]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning", "ignore:.*non-finite")


def runs_of(client):
    """The newest search's run, and those of its candidates in the order of `cv_results_`."""
    search = runs_of_kind(client, "study")[0]
    candidates = children(client, search, "trial")
    return search, sorted(candidates, key=lambda run: int(run.data.tags["sysmetrics.run_key"].rpartition("/")[2]))


@cases("found", SEARCHES)
def test_each_candidate_is_a_run_with_its_params_scores_and_costs(found, store_in_use):
    """As `cv_results_` has them; the run has what one fit costs."""
    results = found.set_callbacks(SystemMetricsCallback()).fit(X, y).cv_results_
    search, candidates = runs_of(store_in_use)
    assert search.info.status == "FINISHED"
    assert search.info.run_name == f"{type(found).__name__} Pipeline"
    assert search.data.metrics["trials"] == len(candidates) == len(results["params"])
    of_fits = 3 * sum(run.data.metrics["cpu_seconds"] for run in candidates)
    assert search.data.metrics["cpu_seconds"] == pytest.approx(of_fits)
    for number, run in enumerate(candidates):
        metrics, params = run.data.metrics, results["params"][number]
        assert run.info.status == "FINISHED"
        assert run.data.params == {name: str(value) for name, value in params.items()}
        assert run.info.run_name == f"C={params['logisticregression__C']}"
        for name in ("mean_test_score", "std_test_score", "mean_fit_time", "rank_test_score"):
            assert metrics[name] == results[name][number]
        assert not any(name.startswith(("param", "split")) for name in metrics)


@cases("n_jobs", [1, 2])
def test_fit_is_charged_for_what_it_uses_itself(n_jobs, store_in_use):
    """Not for what earlier fits took, or workers that wait."""
    joblib.Parallel(n_jobs=2)(joblib.delayed(Fit(200).fit)(X, y) for _ in range(4))  # which leaves workers
    grid = [{"megabytes": [150], "cpu_s": [0.0]}, {"megabytes": [1], "cpu_s": [0.0, 0.3]}]
    GridSearchCV(Fit(), grid, cv=2, n_jobs=n_jobs, refit=False).set_callbacks(SystemMetricsCallback()).fit(X, y)
    large, small, slow = (run.data.metrics for run in runs_of(store_in_use)[1])
    assert large["peak_memory_mb"] - small["peak_memory_mb"] == pytest.approx(149, abs=15)
    assert large["memory_growth_mb"] == pytest.approx(150, abs=10)
    assert small["memory_growth_mb"] < 15
    assert slow["cpu_seconds"] == pytest.approx(0.3, abs=0.1)


def test_growth_is_not_hidden_by_an_estimator_that_holds_itself(store_in_use):
    """It is gone once Python collects garbage."""

    class Cyclic(Fit):
        def fit(self, X, y):
            gc.collect()  # Python may do so at any time
            self.itself_ = self
            return super().fit(X, y)

    search = GridSearchCV(Cyclic(60), {"gives": [0.1, 0.2]}, cv=2, refit=False)
    search.set_callbacks(SystemMetricsCallback()).fit(X, y)
    growths_mb = [run.data.metrics["memory_growth_mb"] for run in runs_of(store_in_use)[1]]
    assert growths_mb == pytest.approx([60] * 2, abs=6)


def test_writing_of_runs_is_no_cost_of_a_fit(store_in_use, monkeypatch):
    """Here a thread of this process writes for a second during each fit, as it says."""
    monkeypatch.setattr(Search, "writing_s", property(lambda search: next(seconds)))
    seconds = count(0.0, 1.0)
    GridSearchCV(Fit(cpu_s=0.1), {}, cv=2, refit=False).set_callbacks(SystemMetricsCallback()).fit(X, y)
    (run,) = runs_of(store_in_use)[1]
    assert run.data.metrics["cpu_seconds"] == 0


def test_best_candidate_that_breaks_a_limit_on_its_last_split_is_told(store_in_use, caplog):
    search = GridSearchCV(Fit(cpu_s=0.1), {}, cv=ShuffleSplit(1), refit=False)
    search.set_callbacks(SystemMetricsCallback("cpu_seconds<=0.01")).fit(X, y)
    assert "the best candidate has broken a limit" in caplog.text


@cases("n_jobs", [1, 2])
def test_limit_skips_other_splits_and_candidates_beyond(n_jobs, store_in_use):
    """The fit that breaks it ends; of one beyond no fit begins. What is chosen meets the limit."""
    grid = {"gives": [0.1], "megabytes": [1, 10, 150, 250, 300]}
    costs = SystemMetricsCallback(limits="memory_growth_mb<=80")
    found = GridSearchCV(Fit(), grid, cv=4, n_jobs=n_jobs).set_callbacks(costs).fit(X, y)
    search, candidates = runs_of(store_in_use)
    assert [run.info.status for run in candidates] == ["FINISHED"] * 2 + ["KILLED"] * 3
    scores = [found.cv_results_[f"split{split}_test_score"] for split in range(4)]
    fits = np.isfinite(scores).sum(axis=0)
    assert list(fits[:2]) == [4, 4]
    assert 1 <= fits[2] <= n_jobs
    assert fits[4] == 0
    assert found.best_params_["megabytes"] in (1, 10)
    reason = candidates[4].data.tags["sysmetrics.stop_reason"]
    assert re.match(r"memory_growth_mb 1\d\d(\.\d)? > 80 \(foreseen from megabytes=150\)", reason)
    assert search.data.metrics.items() >= {"trials": 5, "stopped": 3, "failed": 0}.items()


@pytest.fixture
def search(store_in_use):
    """The runs of six candidates in two splits each, with a limit."""
    estimator = GridSearchCV(Fit(), {"gives": [0.1, 0.2], "megabytes": [1, 2, 3]})
    estimator.n_splits_ = 2
    search = Search(estimator, Limits.parse("elapsed_s<=1"))
    yield search
    search.close()


@cases(
    "fits, row, is_skipped",
    {
        "beyond": ([(0, 0.2), (0, 0.7), (1, 1.5)], 2, True),
        "all splits of one have to cost half": ([(0, 0.2), (0, 0.9), (1, 1.5)], 2, False),
        "between two": ([(0, 0.2), (2, 1.5)], 1, False),
        "none on the other side": ([(1, 1.5)], 2, False),
        "two numbers differ": ([(0, 0.2), (1, 1.5)], 5, False),
        "a later split makes up for nothing": ([(0, 2.0), (0, 0.5)], 0, True),
    },
)
def test_candidate_that_may_meet_the_limit_is_tried(fits, row, is_skipped, search):
    """One is skipped beyond another that breaks the limit, at twice what each split of one that meets it has cost."""
    for earlier, cost_s in fits:
        search.note(earlier, {"elapsed_s": cost_s})
    assert search.note(row) is is_skipped


@cases(
    "wrong, more, raised, statuses",
    {
        "a fit fails": ({"fails": [False, True]}, {}, None, ["FINISHED", "FINISHED", "FAILED"]),
        "and ends the search": ({"fails": [False, True]}, RAISE, ValueError, ["FAILED", "KILLED", "KILLED"]),
        "Ctrl-C": ({"ends": [False, True]}, {}, KeyboardInterrupt, ["KILLED", "KILLED", "KILLED"]),
    },
)
def test_search_that_does_not_go_well_ends_its_runs(wrong, more, raised, statuses, store_in_use):
    """With why, and with the costs of the fits that have ended."""
    search = GridSearchCV(Fit(), wrong, cv=2, **more).set_callbacks(SystemMetricsCallback())
    with contextlib.nullcontext() if raised is None else pytest.raises(raised):
        search.fit(X, y)
    run, candidates = runs_of(store_in_use)
    assert [each.info.status for each in (run, *candidates)] == statuses
    assert {"sysmetrics.error", "sysmetrics.stop_reason"} & {*run.data.tags, *candidates[-1].data.tags}
    assert "peak_memory_mb" in candidates[0].data.metrics


def test_estimator_that_sends_itself_to_processes_is_fitted(store_in_use):
    """It has what scikit-learn gives to callbacks, and what this one has put there."""
    search = GridSearchCV(BaggingRegressor(n_jobs=2), {"n_estimators": [2]}, cv=2, error_score="raise")
    search.set_callbacks(SystemMetricsCallback()).fit(X, y)
    (candidate,) = runs_of_kind(store_in_use, "trial")
    assert candidate.info.status == "FINISHED"


def test_fits_in_threads_have_only_their_time(store_in_use, caplog):
    """What a thread uses of its process cannot be known; the log says so, and that other limits do not act."""
    search = GridSearchCV(Fit(), {"cpu_s": [0.03, 0.04]}, cv=4, n_jobs=4, refit=False)
    with joblib.parallel_backend("threading"):
        search.set_callbacks(SystemMetricsCallback(limits="cpu_seconds<=0.01")).fit(X, y)
    run, candidates = runs_of(store_in_use)
    for candidate in candidates:
        assert candidate.data.metrics.keys() & SUMMARY == {"elapsed_s"}
        assert candidate.info.status == "FINISHED"
    assert "cpu_seconds" not in run.data.metrics
    assert "only elapsed_s is known" in caplog.text


def test_search_lies_in_the_active_run_beside_autologging(store_in_use):
    """MLflow's own logging of scikit-learn keeps its run, and the fitted search can be pickled, without a secret."""
    mlflow.sklearn.autolog(log_models=False, log_datasets=False, silent=True)
    try:
        with mlflow.start_run() as active:
            search = GridSearchCV(Fit(), {"megabytes": [1, 2]}, cv=2).set_callbacks(SystemMetricsCallback()).fit(X, y)
    finally:
        mlflow.sklearn.autolog(disable=True, silent=True)
    run, candidates = runs_of(store_in_use)
    assert run.data.tags["mlflow.parentRunId"] == active.info.run_id
    assert len(candidates) == 2
    assert "best_cv_score" in store_in_use.get_run(active.info.run_id).data.metrics
    assert vars(pickle.loads(pickle.dumps(search))._skl_callbacks[0]).keys() == {"limits"}
    assert not [name for name in vars(search) if "sysmetrics" in name]


@cases("score, why", {"raises": ("raise", "would end the search"), "number": (0.0, ".* may be the best one")})
def test_limits_need_a_search_that_goes_on_without_a_score(score, why, store_in_use):
    """Before any fit."""
    search = GridSearchCV(Fit(), {}, error_score=score).set_callbacks(SystemMetricsCallback("elapsed_s<=9"))
    with pytest.raises(ValueError, match=f"^limits=.*: error_score={score!r} {why}; use error_score=nan$"):
        search.fit(X, y)
    assert store_in_use.search_runs(["0"]) == []


def test_estimator_that_is_no_search_is_refused(store_in_use):
    """Before it is fitted."""
    with pytest.raises(ValueError, match=r"^SystemMetricsCallback on Pipeline: set it on a search, such as Grid"):
        make_pipeline(Fit()).set_callbacks(SystemMetricsCallback()).fit(X, y)


def test_older_scikit_learn_is_named(store_in_use, monkeypatch):
    """With what to install."""
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    with pytest.raises(ImportError, match=r"scikit-learn 1\.\d+\.\d+ has no callbacks: install scikit-learn>=1.9"):
        SystemMetricsCallback()
