"""scikit-learn: what each candidate of a search costs, and limits that skip fits. The only module that imports sklearn.

Fits run in the process of the search, or in workers that have a copy of the search and of its callback. The process
that fits measures itself and tells the process of the search, which writes the runs. Workers do without MLflow:
importing it takes seconds, and would count as memory of their fits.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing.connection import Client, Listener
from numbers import Real
from typing import Any
from uuid import uuid4

import psutil

from mlflow_sysmetrics import tags
from mlflow_sysmetrics.delivery.operations import log, now_ms, table
from mlflow_sysmetrics.limits import Limits, Stop, Values, groups_for, process_limits
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.metrics import mean_of_splits
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import reset_peak_rss

logger = get_logger(__name__)
_warn_once = functools.cache(logger.warning)
_OF_SCORES = re.compile(r"(mean|std|rank|split\d+)_|n_resources$")  # in cv_results_
_ANSWER_S, _CLOSE_EACH_S = 5.0, 2.0  # how long to wait for the store; and longer at the end, for each run

_searches: dict[str, _Search] = {}  # of this process, by key, for its workers


class Costs:
    """A callback of a search: each candidate becomes an MLflow run with its parameters, its scores and what it costs.

        search = GridSearchCV(SVC(), {"C": [1, 10, 100]}).set_callbacks(Costs(limits="elapsed_s<=5"))
        search.fit(X, y)

    The runs lie in a run of the search, which lies in the active run if there is one. A cost is that of one fit with
    its scoring, the mean over the splits; of memory, the highest. Nothing raises once the search has begun.

    Args:
        limits: on one fit with its scoring, such as ``"peak_memory_mb<=500, elapsed_s<=60"``. Once a split has broken a
            limit, the candidate's other splits are skipped, and of a grid the candidates beyond it: those that differ
            from it in one number only, on whose other side a candidate meets the limit at half the cost or less. No fit
            is interrupted.

    Raises:
        ImportError: scikit-learn has no callbacks.
        ValueError: `limits` is wrong, or MLflow has no such store; from ``fit``: this is not a search, or it has limits
            and an ``error_score`` that is not NaN.
    """

    def __init__(self, limits: str | None = None) -> None:
        from mlflow_sysmetrics.delivery.door_runs import check_store

        if find_spec("sklearn.callback") is None:
            here = f"scikit-learn {version('scikit-learn')}"
            raise ImportError(f"{here} has no callbacks: install scikit-learn>=1.9, which needs Python 3.11")
        self.limits = process_limits(limits)
        check_store()

    def setup(self, estimator: Any, context: Any) -> None:
        if "error_score" not in (params := estimator.get_params(deep=False)):
            raise ValueError(f"Costs on {type(estimator).__name__}: set it on a search, such as GridSearchCV")
        score = params["error_score"]
        if self.limits.rules and score == score:  # is not NaN
            why = "would end the search" if score == "raise" else "of a skipped candidate may be the best one"
            raise ValueError(f'limits="{self.limits}": error_score={score!r} {why}; use error_score=nan')
        with _never_raising():
            estimator._sysmetrics = search = _Search(estimator, self.limits)
            _searches[search.key] = search

    def teardown(self, estimator: Any, context: Any) -> None:
        with _never_raising():
            if search := vars(estimator).pop("_sysmetrics", None):  # else setup has refused it
                _searches.pop(search.key).close()

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        is_skipped = False
        with _never_raising():
            if context.task_name == "candidate-split-evaluation":  # and not, for one, the last fit on all data
                is_skipped = estimator._sysmetrics.hear(*_place(estimator, context))
                if not is_skipped:
                    context._sysmetrics = _Fit(estimator._sysmetrics, self.limits)
        if is_skipped:  # scikit-learn takes it for a fit that failed, and prints a traceback for each different text
            raise RuntimeError(f'skipped for limits="{self.limits}": see sysmetrics.stop_reason of its candidate')

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        with _never_raising():
            if context.task_name == "fit":
                estimator._sysmetrics.results = estimator.cv_results_
            if fit := vars(context).pop("_sysmetrics", None):
                estimator._sysmetrics.hear(*_place(estimator, context), fit.end())


@contextlib.contextmanager
def _never_raising() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _warn_once("costs of a search are missing; the search goes on. %s", f"{type(error).__name__}: {error}")


def _place(estimator: Any, context: Any) -> tuple[int, int]:
    """The row of a fit's candidate in ``cv_results_``, and the split."""
    row, split = divmod(context.task_id, estimator.n_splits_)
    earlier = sum(getattr(estimator, "n_candidates_", ())[:-1])  # those of a halving search's iterations before
    return earlier + row, split


@functools.cache
def _listening(pid: int) -> tuple[Any, bytes]:
    """The address at which this process hears its workers, and the secret that they need."""
    secret = os.urandom(32)
    listener = Listener(authkey=secret, backlog=128)

    def answer() -> None:
        while True:
            with _never_raising(), listener.accept() as worker:
                key, *told = worker.recv()
                worker.send(key in _searches and _searches[key].hear(*told))  # one that has ended may have left workers

    threading.Thread(target=answer, name="mlflow-sysmetrics-workers", daemon=True).start()
    return listener.address, secret


@dataclass(frozen=True)
class _FarSearch:
    """What a worker has in place of the `_Search`."""

    key: str
    address: Any
    secret: bytes
    thread, writing_s = threading.main_thread().ident, 0.0  # of a worker

    def hear(self, row: int, split: int, costs: Values | None = None) -> bool:
        with Client(self.address, authkey=self.secret) as connection:
            connection.send((self.key, row, split, costs))
            return bool(connection.recv())


class _Fit:
    """A fit that has begun in this process."""

    def __init__(self, search: _Search | _FarSearch, limits: Limits) -> None:
        with contextlib.suppress(AttributeError, OSError):  # not every libc has it
            psutil.heap_trim()  # so that what an earlier fit has freed is not this one's
        reset_peak_rss()
        self._search, self._writing_s = search, search.writing_s
        self._measurement = Measurement(groups=groups_for(limits), alone=True).start()

    def __reduce__(self) -> tuple[Any, ...]:
        """Nothing: an estimator that is fitted has it, and may be sent to processes of its own."""
        return type(None), ()

    def end(self) -> Values:
        costs = self._measurement.stop()
        if threading.get_ident() != self._search.thread:
            _warn_once("fits in threads share a process: of each only elapsed_s is known, and no other limit acts")
            return {"elapsed_s": costs["elapsed_s"]}
        if "cpu_seconds" in costs:
            writing_s = self._search.writing_s - self._writing_s
            costs |= {name: max(0.0, costs[name] - writing_s) for name in ("cpu_seconds", "user_cpu_seconds")}
            costs["mean_cpu_percent"] = 100 * costs["cpu_seconds"] / costs["elapsed_s"]
        return costs


@dataclass
class _Candidate:
    key: str  # of its run
    params: Mapping[str, Any]  # {} while they are not known
    stop: Stop | None  # which limit it breaks: from now on its fits are skipped
    foreseen: str  # from what that is known, if not from a fit of its own
    splits: dict[int, Values] = field(default_factory=dict)  # what its fits have cost
    ended_ms: int | None = None

    @property
    def summary(self) -> Values:
        """Of one fit: the means, and of memory the highest."""
        return mean_of_splits(self.splits.values())


class _Search:
    """The runs of a search, in its process. Only `close` waits for the store."""

    def __init__(self, estimator: Any, limits: Limits) -> None:
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID  # not at the top, see there
        from sklearn.model_selection import ParameterGrid

        from mlflow_sysmetrics.delivery.door_runs import place_here, source_tags
        from mlflow_sysmetrics.delivery.store import Store
        from mlflow_sysmetrics.delivery.writer import Writer

        self.key, self.thread, self._lock = uuid4().hex, threading.get_ident(), threading.Lock()
        self._began = time.monotonic()
        self.results: Mapping[str, Any] = {}  # known once the search has come to its end
        self._estimator, self._judge, self._candidates = estimator, limits.judge(), dict[int, _Candidate]()  # by row
        self._grid = [*ParameterGrid(estimator.param_grid)] if hasattr(estimator, "param_grid") else []
        where, name = place_here(), f"{type(estimator).__name__} {type(estimator.estimator).__name__}"
        self._experiment_id, self._tags = where.experiment_id, source_tags()
        about = {**self._tags, **({MLFLOW_PARENT_RUN_ID: where.run_id} if where.run_id else {}), tags.KIND: "study"}
        self._writer = Writer(Store(where.tracking_uri))
        self._writer.start()
        self._writer.create(self.key, experiment_id=self._experiment_id, name=name, tags=about)
        self._writer.add(self.key, log(params={"limits": limits} if limits.rules else {}))
        until = time.monotonic() + _ANSWER_S  # what MLflow loads and makes for its first request is not a cost of a fit
        while self._writer.run_id(self.key) is None and not self._writer.is_away and time.monotonic() < until:
            time.sleep(0.005)

    def __reduce__(self) -> tuple[Any, ...]:
        return _FarSearch, (self.key, *_listening(os.getpid()))

    @property
    def writing_s(self) -> float:
        """CPU seconds that this process has spent on writing the runs, which are no cost of a fit."""
        return self._writer.cpu_seconds

    def hear(self, row: int, split: int, costs: Values | None = None) -> bool:
        """Note that a fit begins, or what it has cost; return whether the candidate's fits are to be skipped."""
        with self._lock:
            if row not in self._candidates:
                self._candidates[row] = self._begin(row)
            candidate = self._candidates[row]
            if costs is not None:
                candidate.splits[split], candidate.ended_ms = costs, now_ms()
                candidate.stop = candidate.stop or self._judge.crossed(costs)
                if len(candidate.splits) == self._estimator.n_splits_:
                    self._writer.add(candidate.key, log(summary=candidate.summary))
            return candidate.stop is not None

    def _begin(self, row: int) -> _Candidate:
        """Have a run created for a candidate; see whether it can meet the limits."""
        params = self._grid[row] if row < len(self._grid) else {}
        candidate = _Candidate(f"{self.key}/{row}", params, *self._foreseen(params))
        name, about = _name(params) or f"candidate {row}", {**self._tags, tags.KIND: "trial"}
        where = self._experiment_id
        self._writer.create(candidate.key, experiment_id=where, name=name, tags=about, parent=self.key)
        return candidate

    def _foreseen(self, params: Mapping[str, Any]) -> tuple[Stop | None, str]:
        """The limit that a candidate of a grid breaks, too, and from what that follows: see `Costs`."""
        known = [each for each in self._candidates.values() if each.splits]
        line = [(name, each) for each in known if (name := _only_number(params, each.params))]
        for name, broken in line:
            if (stop := broken.stop) is None:
                continue
            for same, met in line:
                if same == name and not met.stop:
                    near, middle, far = (each[name] for each in (met.params, broken.params, params))
                    most = max(costs.get(stop.metric, math.inf) for costs in met.splits.values())
                    if min(near, far) < middle < max(near, far) and stop.value >= 2 * most:
                        return stop, f"foreseen from {name}={middle}"
        return None, ""

    def close(self) -> None:
        """End the runs with what is known of scores, and have the store take all."""
        status, why = "FINISHED", {}
        if not self.results:
            error = sys.exc_info()[1]
            status, tag = ("FAILED", tags.ERROR) if isinstance(error, Exception) else ("KILLED", tags.STOP_REASON)
            why = {tag: f"{type(error).__name__}: {error}".partition("\n")[0]}
        with self._lock:
            ended = Counter(self._end(row, each) for row, each in self._candidates.items())
            splits = [costs for each in self._candidates.values() for costs in each.splits.values()]
        counts = {"trials": ended.total(), "stopped": ended["KILLED"], "failed": ended["FAILED"]}
        cpu_s = sum(costs.get("cpu_seconds", math.nan) for costs in splits)  # if it is known of all
        elapsed_s = time.monotonic() - self._began
        self._writer.add(self.key, log(summary={**counts, "cpu_seconds": cpu_s, "elapsed_s": elapsed_s}))
        self._writer.end(self.key, status, tags=why)
        if not self._writer.close(_ANSWER_S + (0 if self._writer.is_away else _CLOSE_EACH_S * ended.total())):
            said = "MLflow did not take all data in time: %d runs are incomplete; `mlflow-sysmetrics sync` will help"
            logger.warning(said, self._writer.keep())

    def _end(self, row: int, candidate: _Candidate) -> str:
        """End the run of a candidate, and return its status."""
        values = {name: float(each[row]) for name, each in self.results.items() if _OF_SCORES.match(name)}
        status, why = "FINISHED", {}
        if candidate.stop:
            status, why = "KILLED", candidate.stop.tags(candidate.foreseen)
            if self.results and row == getattr(self._estimator, "best_index_", None):
                logger.warning("the best candidate has broken a limit: %s", candidate.stop)
        elif not self.results:
            status, why = "KILLED", {tags.STOPPED_BY: tags.BY_EXPERIMENT_END, tags.STOP_REASON: "the search has ended"}
        elif not all(map(math.isfinite, values.values())):
            status, why = "FAILED", {tags.ERROR: "not every split has a score; scikit-learn warns why"}
        rows = [{"split": split, **candidate.splits.get(split, {})} for split in range(self._estimator.n_splits_)]
        for name in [*values]:
            if found := re.fullmatch(r"split(\d+)_(.+)", name):
                rows[int(found[1])][found[2]] = values.pop(name)
        if len(candidate.splits) < self._estimator.n_splits_:
            values |= candidate.summary
        params = self.results["params"][row] if self.results else {}
        named = {"mlflow.runName": _name(params)} if params else {}
        self._writer.add(candidate.key, [*log(params=params, tags=named, summary=values), *table("splits.json", rows)])
        self._writer.end(candidate.key, status, tags=why, end_ms=candidate.ended_ms)
        return status


def _name(params: Mapping[str, Any]) -> str:
    return " ".join(f"{name.rpartition('__')[2]}={value}" for name, value in params.items())[:60]


def _only_number(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The name of the only parameter in which two candidates of a grid differ, if it is a number."""
    differ = [name for name in one if one[name] is not other.get(name)] if one.keys() == other.keys() else []
    return differ[0] if len(differ) == 1 and all(isinstance(each[differ[0]], Real) for each in (one, other)) else None
