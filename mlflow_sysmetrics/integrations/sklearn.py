"""scikit-learn: what each candidate of a search costs, and limits that skip fits. The only module that imports sklearn.

Fits run in the process of the search, or in workers that have a copy of the search and of its callback. The process
that fits measures itself and reports to the process of the search, which writes the runs. Workers do without MLflow:
importing it takes seconds, and would count as memory of their fits.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from numbers import Real
from typing import Any

from mlflow_sysmetrics import delivery  # whose names load MLflow when they are used
from mlflow_sysmetrics.common.guard import never_raises, warn_once
from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.common.threads import Deadline
from mlflow_sysmetrics.common.time_limits import ANSWER_S, DELIVER_EACH_S
from mlflow_sysmetrics.integrations.workers import Proxy
from mlflow_sysmetrics.limits import Limits, Stop, Values, process_limits
from mlflow_sysmetrics.measurement import Measurement, check_attainable
from mlflow_sysmetrics.metrics import mean_of_splits
from mlflow_sysmetrics.recording.outcome import FINISHED, Outcome, ended_by, failed, killed
from mlflow_sysmetrics.recording.tags import BY_EXPERIMENT_END, KIND
from mlflow_sysmetrics.sampling import collect_garbage

logger = get_logger(__name__)
_FIT = "candidate-split-evaluation"  # scikit-learn's name of the task; the last fit on all data is another one
_NOT_A_SCORE = re.compile(r"param|split\d+_")  # in `cv_results_`: a parameter, or of one split alone
_guard = functools.partial(never_raises, "measuring a search of scikit-learn")


class SystemMetricsCallback:
    """A callback of a search: each candidate becomes an MLflow run with its parameters, its scores and what it costs.

        search = GridSearchCV(SVC(), {"C": [1, 10, 100]})
        search.set_callbacks(SystemMetricsCallback(limits="elapsed_s<=5")).fit(X, y)

    The runs lie in a run of the search, which lies in the active run if there is one. A cost is that of one fit with
    its scoring, the mean over the splits; of memory, the highest. Nothing raises once the search has begun.

    Args:
        limits: on one fit with its scoring, such as ``"peak_memory_mb<=500, elapsed_s<=60"``. Once a split has broken a
            limit, the candidate's other splits are skipped, and of a grid the candidates beyond it: those that differ
            from it in one number only, on whose other side a candidate meets the limit at half the cost or less. No fit
            is interrupted.

    Raises:
        ImportError: scikit-learn has no callbacks.
        ValueError: `limits` is wrong, or MLflow has no such store; from ``fit``: this is not a search, it has limits
            and an ``error_score`` that is not NaN, or this process, which is to fit, has more memory than they allow.
    """

    def __init__(self, limits: str | None = None) -> None:
        if find_spec("sklearn.callback") is None:
            installed = f"scikit-learn {version('scikit-learn')}"
            raise ImportError(f"{installed} has no callbacks: install scikit-learn>=1.9, which needs Python 3.11")
        self.limits = process_limits(limits)
        delivery.open_store()

    def setup(self, estimator: Any, context: Any) -> None:
        params = estimator.get_params(deep=False)
        if "error_score" not in params:
            refused = f"{type(self).__name__} on {type(estimator).__name__}"
            raise ValueError(f"{refused}: set it on a search, such as GridSearchCV")
        if self.limits.rules:
            self._check(params["error_score"], params.get("n_jobs"))
        with _guard():
            estimator._sysmetrics = Search(estimator, self.limits)

    def teardown(self, estimator: Any, context: Any) -> None:
        with _guard():
            search = vars(estimator).pop("_sysmetrics", None)
            if search:  # else setup has refused it
                search.close()

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        is_skipped = False
        with _guard():
            if context.task_name == _FIT:
                is_skipped = estimator._sysmetrics.note(_row(estimator, context))
                if not is_skipped:
                    context._sysmetrics = _Fit(estimator._sysmetrics)
        if is_skipped:  # scikit-learn takes it for a fit that failed, and prints a traceback for each different text
            raise RuntimeError(f'skipped for limits="{self.limits}": see sysmetrics.stop_reason of its candidate')

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        with _guard():
            if context.task_name == "fit":
                estimator._sysmetrics.results = estimator.cv_results_
            fit = vars(context).pop("_sysmetrics", None)
            if fit:
                estimator._sysmetrics.note(_row(estimator, context), fit.end())

    def _check(self, error_score: Any, n_jobs: int | None) -> None:
        """ValueError where limits do not go with a search that has these."""
        from joblib import effective_n_jobs  # type: ignore[import-untyped]

        if error_score == error_score:  # is not NaN
            why = "would end the search" if error_score == "raise" else "of a skipped candidate may be the best one"
            raise ValueError(f'limits="{self.limits}": error_score={error_score!r} {why}; use error_score=nan')
        if effective_n_jobs(n_jobs) == 1:  # workers have other memory
            check_attainable(self.limits)


def _row(estimator: Any, context: Any) -> int:
    """The row of a fit's candidate in ``cv_results_``."""
    earlier = sum(getattr(estimator, "n_candidates_", ())[:-1])  # those of a halving search's iterations before
    return int(earlier + context.task_id // estimator.n_splits_)


class _SearchProxy:
    """What a worker has in place of the `Search`."""

    thread = threading.main_thread().ident
    writing_s = 0.0

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def note(self, row: int, costs: Values | None = None) -> bool:
        return bool(self._proxy.call("note", row, costs))


class _Fit:
    """A fit that has begun in this process."""

    def __init__(self, search: Search | _SearchProxy) -> None:
        if threading.get_ident() == search.thread:
            collect_garbage()  # an earlier estimator may be there
        self._search = search
        self._writing_s = search.writing_s
        self._measurement = Measurement(children=False).start()

    def __reduce__(self) -> tuple[Any, ...]:
        """Nothing: an estimator that is fitted has it, and may be sent to processes of its own."""
        return type(None), ()

    def end(self) -> Values:
        costs = self._measurement.stop()
        if threading.get_ident() != self._search.thread:
            warn_once("fits in threads share a process: of each only elapsed_s is known, and no other limit acts")
            return {"elapsed_s": costs["elapsed_s"]}
        if "cpu_seconds" in costs:
            writing_s = self._search.writing_s - self._writing_s
            for name in ("cpu_seconds", "user_cpu_seconds"):
                costs[name] = max(0.0, costs[name] - writing_s)
            costs["mean_cpu_percent"] = 100 * costs["cpu_seconds"] / costs["elapsed_s"]
        return costs


@dataclass
class _Candidate:
    run: delivery.Run
    params: Mapping[str, Any]  # {} while they are not known
    stop: Stop | None  # which limit it breaks: from now on its fits are skipped
    foreseen: str  # from what that is known, if not from a fit of its own
    fits: list[Values] = field(default_factory=list)  # what each has cost
    ended_ms: int | None = None


class Search:
    """The runs of a search, in its process. Only `close` waits for the store."""

    def __init__(self, estimator: Any, limits: Limits) -> None:
        from sklearn.model_selection import ParameterGrid

        self.thread = threading.get_ident()
        self.results: Mapping[str, Any] = {}  # known once the search has come to its end
        self._began = time.monotonic()
        self._estimator = estimator
        self._limits = limits
        self._lock = threading.Lock()
        self._candidates: dict[int, _Candidate] = {}  # by row
        self._lines: defaultdict[Hashable, list[_Candidate]] = defaultdict(list)  # those that differ in one number
        self._grid: list[Mapping[str, Any]] = []
        if hasattr(estimator, "param_grid"):
            self._grid = list(ParameterGrid(estimator.param_grid))
        self._ref = delivery.current_run()
        self._writer = delivery.writer_for(self._ref.tracking_uri)
        name = f"{type(estimator).__name__} {type(estimator.estimator).__name__}"
        self._run = delivery.child_run(self._ref, name, {KIND: "study"})
        if limits.rules:
            self._run.log(params={"limits": limits})
        deadline = Deadline(ANSWER_S)  # what MLflow does at its first request is not a cost of a fit
        while not self._run.run_id and not self._writer.is_unreachable and deadline.left():
            time.sleep(0.005)
        self._proxy = Proxy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _SearchProxy, (self._proxy,)

    @property
    def writing_s(self) -> float:
        """CPU seconds that this process has spent on writing the runs, which are no cost of a fit."""
        return self._writer.cpu_seconds

    def note(self, row: int, costs: Values | None = None) -> bool:
        """Note that a fit begins, or what it has cost; return whether the candidate's fits are to be skipped."""
        with self._lock:
            if row not in self._candidates:
                self._candidates[row] = self._begin(row)
            candidate = self._candidates[row]
            if costs is not None:
                candidate.fits.append(costs)
                candidate.ended_ms = delivery.now_ms()
                candidate.stop = candidate.stop or self._limits.crossed(costs)
                if len(candidate.fits) == self._estimator.n_splits_:
                    candidate.run.log(summary=mean_of_splits(candidate.fits))
            return candidate.stop is not None

    def _begin(self, row: int) -> _Candidate:
        """Have a run created for a candidate; see whether it can meet the limits."""
        params = self._grid[row] if row < len(self._grid) else {}
        run = self._writer.create(
            self._ref.experiment_id,
            name=_name(params) or f"candidate {row}",
            tags={**delivery.source_tags(), KIND: "trial"},
            parent=self._run,
            key=f"{self._run.key}/{row}",
        )
        candidate = _Candidate(run, params, *self._foreseen(params))
        if self._limits.rules:
            for _, line in _lines(params):
                self._lines[line].append(candidate)
        return candidate

    def _foreseen(self, params: Mapping[str, Any]) -> tuple[Stop | None, str]:
        """The limit that a candidate of a grid breaks, too, and from what that follows: see `SystemMetricsCallback`."""
        for name, line in _lines(params):
            tried = [candidate for candidate in self._lines[line] if candidate.fits]
            over = [(candidate.params[name], candidate.stop) for candidate in tried if candidate.stop]
            within = [candidate for candidate in tried if not candidate.stop]
            for (middle, stop), met in itertools.product(over, within):
                near, far = met.params[name], params[name]
                highest = max(costs.get(stop.metric, math.inf) for costs in met.fits)
                if min(near, far) < middle < max(near, far) and stop.value >= 2 * highest:
                    return stop, f"foreseen from {name}={middle}"
        return None, ""

    def close(self) -> None:
        """End the runs with what is known of scores, and have the store take all."""
        with self._lock:
            candidates = list(self._candidates.items())
            statuses = Counter(self._end(row, candidate) for row, candidate in candidates)
        fits = [costs for _, candidate in candidates for costs in candidate.fits]
        summary = {
            "trials": len(candidates),
            "stopped": statuses["KILLED"],
            "failed": statuses["FAILED"],
            "cpu_seconds": sum(costs.get("cpu_seconds", math.nan) for costs in fits),  # if it is known of all
            "elapsed_s": time.monotonic() - self._began,
        }
        self._run.log(summary=summary)
        self._run.end(FINISHED if self.results else ended_by(sys.exc_info()[1]))
        runs = [self._run, *(candidate.run for _, candidate in candidates)]
        timeout_s = ANSWER_S
        if not self._writer.is_unreachable:
            timeout_s += DELIVER_EACH_S * len(runs)
        self._writer.close(runs, timeout_s)

    def _end(self, row: int, candidate: _Candidate) -> str:
        """End the run of a candidate, and return its status."""
        scores: dict[str, float] = {}
        for name, column in self.results.items():
            if not _NOT_A_SCORE.match(name):
                scores[name] = float(column[row])
        outcome = self._outcome(row, candidate, scores)
        run = candidate.run
        if self.results:
            params = self.results["params"][row]
            run.log(params=params, tags={"mlflow.runName": _name(params)}, summary=scores)
        if len(candidate.fits) < self._estimator.n_splits_:
            run.log(summary=mean_of_splits(candidate.fits))
        run.end(outcome, candidate.ended_ms)
        return outcome.status

    def _outcome(self, row: int, candidate: _Candidate, scores: Values) -> Outcome:
        if candidate.stop:
            if self.results and row == getattr(self._estimator, "best_index_", None):
                logger.warning("the best candidate has broken a limit: %s", candidate.stop)
            return candidate.stop.outcome(candidate.foreseen)
        if not self.results:
            return killed(BY_EXPERIMENT_END, "the search has ended")
        if not all(map(math.isfinite, scores.values())):
            return failed("not every split has a score; scikit-learn warns why")
        return FINISHED


def _name(params: Mapping[str, Any]) -> str:
    return " ".join(f"{name.rpartition('__')[2]}={value}" for name, value in params.items())[:60]


def _lines(params: Mapping[str, Any]) -> Iterator[tuple[str, Hashable]]:
    """The numbers of a candidate, each with a key that the candidates share that differ from it in this alone."""
    values = {name: id(value) for name, value in params.items()}  # those of a grid are the same objects
    for name, value in params.items():
        if isinstance(value, Real):
            yield name, (name, frozenset((values | {name: 0}).items()))
