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
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from numbers import Real
from statistics import fmean
from typing import Any, NamedTuple
from uuid import uuid4

import psutil

from mlflow_sysmetrics import tags
from mlflow_sysmetrics.delivery import now_ms
from mlflow_sysmetrics.limits import Criteria, Stop, Values, groups_for, process_criteria
from mlflow_sysmetrics.measurement import SUMMARY, Measurement
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import reset_peak_rss

logger = get_logger(__name__)
_warn_once = functools.cache(logger.warning)
_TABLE, _MAX_NAME = "splits.json", 60
_OF_SCORES = re.compile(r"(mean|std|rank|split\d+)_|n_resources$")  # in cv_results_
_ANSWER_S, _CLOSE_S, _CLOSE_EACH_S = 5.0, 60.0, 1.0  # for the store: if it is away; to take the rest, and of each run

Place = tuple[int, int, int]  # of a fit: the iteration of a halving search, else 0; the candidate; the split
_searches: dict[str, _Search] = {}  # of this process, by key
_fits: dict[tuple[str, Place], _Fit] = {}  # that are under way in this process
_lock = threading.Lock()
_past_writing_s = 0.0  # of searches that have ended


class LimitBroken(RuntimeError):  # noqa: N818
    """Raised in place of a fit that a limit rules out: scikit-learn takes it for one that failed, and goes on."""


class Costs:
    """A callback of a search: each candidate becomes an MLflow run with its parameters, its scores and what it costs.

        search = GridSearchCV(SVC(), {"C": [1, 10, 100]}).set_callbacks(Costs(limits="elapsed_s<=5"))
        search.fit(X, y)

    The runs lie in a run of the search, which lies in the active run if there is one. A cost is that of one fit with
    its scoring, the mean over the splits; of memory, the highest. Nothing raises once the search has begun.

    Args:
        limits: on one fit with its scoring, such as ``"peak_memory_mb<=500, elapsed_s<=60"``. Once a split has broken a
            limit, the candidate's other splits are skipped, and of a grid the candidates beyond it: those that differ
            from it in one number only, on whose other side a candidate meets the limit. No fit is interrupted.

    Raises:
        ImportError: scikit-learn has no callbacks.
        ValueError: `limits` is wrong, or MLflow has no such store; from ``fit``: this is no search, or it has limits
            and ``error_score="raise"``.
    """

    def __init__(self, limits: str | None = None) -> None:
        from mlflow_sysmetrics.delivery.door_runs import check_store

        if find_spec("sklearn.callback") is None:
            here = f"scikit-learn {version('scikit-learn')}"
            raise ImportError(f"{here} has no callbacks: install scikit-learn>=1.9, which needs Python 3.11")
        criteria = Criteria(()) if limits is None else process_criteria(limits)
        check_store()
        self.limits, self._groups = limits, groups_for(criteria)

    def setup(self, estimator: Any, context: Any) -> None:
        if "error_score" not in (params := estimator.get_params(deep=False)):
            raise ValueError(f"Costs on {type(estimator).__name__}: set it on a search, such as GridSearchCV")
        if self.limits and params["error_score"] == "raise":
            raise ValueError(f'limits={self.limits!r}: error_score="raise" would end the search; use error_score=nan')
        with _never_raising():
            search = _Search(estimator, self.limits)
            estimator._sysmetrics = _Home(search.key, os.getpid(), *_listening(os.getpid()))
            _searches[search.key] = search

    def teardown(self, estimator: Any, context: Any) -> None:
        global _past_writing_s
        with _never_raising():
            key = vars(estimator).pop("_sysmetrics").key
            _searches[key].close(sys.exc_info()[1])
            _past_writing_s += _searches.pop(key).writer.cpu_seconds

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        skipped = None
        with _never_raising():
            if (place := _place(estimator, context)) is not None:
                skipped = _tell(estimator._sysmetrics, place)
                if not skipped:
                    _Fit(estimator._sysmetrics.key, place, self._groups)
        if skipped:  # scikit-learn prints a traceback for each text, so it is the same one for all
            raise LimitBroken(f"limits={self.limits!r} rule it out: see sysmetrics.stop_reason of the candidate's run")

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        with _never_raising():
            home, place = estimator._sysmetrics, _place(estimator, context)
            if context.task_name == "fit":
                _searches[home.key].results = estimator.cv_results_
            if place is not None and (fit := _fits.pop((home.key, place), None)) is not None:
                _tell(home, place, fit.end())


@contextlib.contextmanager
def _never_raising() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _warn_once("costs of a search are missing; the search goes on. %s", f"{type(error).__name__}: {error}")


def _place(estimator: Any, context: Any) -> Place | None:
    """Which fit of the search a task is; None: another task, such as the last fit on all data."""
    if context.task_name != "candidate-split-evaluation":
        return None
    iteration = context.parent.task_id if context.parent.task_name == "halving-iteration" else 0
    return (iteration, *divmod(context.task_id, estimator.n_splits_))


class _Home(NamedTuple):
    """Where a search is. The search itself carries it, and so do its copies in workers."""

    key: str
    pid: int
    address: Any
    secret: bytes


@functools.cache
def _listening(pid: int) -> tuple[Any, bytes]:
    """The address at which this process hears its workers, and the secret that they need."""
    secret = os.urandom(32)
    listener = Listener(authkey=secret, backlog=128)

    def accept() -> None:
        while True:
            with contextlib.suppress(AuthenticationError, EOFError, ConnectionError):
                threading.Thread(target=answer, args=(listener.accept(),), daemon=True).start()

    def answer(connection: Connection) -> None:
        with contextlib.suppress(EOFError, OSError), connection:
            while True:
                connection.send(_tell(*connection.recv()))

    threading.Thread(target=accept, name="mlflow-sysmetrics-workers", daemon=True).start()
    return listener.address, secret


@functools.cache
def _connection(pid: int, address: Any, secret: bytes) -> tuple[Connection, threading.Lock]:
    return Client(address, authkey=secret), threading.Lock()


def _tell(home: _Home, place: Place, costs: Values | None = None) -> str | None:
    """Tell the search that a fit begins, or what it has cost. Return why the fit is to be skipped, if it is."""
    if home.pid != os.getpid():
        connection, lock = _connection(os.getpid(), home.address, home.secret)
        with lock:
            connection.send((home, place, costs))
            return connection.recv()  # type: ignore[no-any-return]
    search = _searches.get(home.key)
    if search is None:  # it has ended, and did not wait for its workers
        return None
    if costs is None:
        return search.begin(*place)
    search.end(*place, costs)
    return None


def _writing_s() -> float:
    """CPU seconds that this process has spent on writing runs, which are no cost of a fit."""
    return _past_writing_s + sum(search.writer.cpu_seconds for search in [*_searches.values()])


class _Fit:
    """A fit that has begun in this process."""

    def __init__(self, key: str, place: Place, groups: Collection[str]) -> None:
        with contextlib.suppress(AttributeError, OSError):  # not every libc has it
            psutil.heap_trim()  # so that what an earlier fit has freed is not this one's
        reset_peak_rss()
        self._thread, self._is_shared, self._writing_s = threading.get_ident(), False, _writing_s()
        with _lock:
            for other in _fits.values():
                if other._thread != self._thread:
                    self._is_shared = other._is_shared = True
            _fits[key, place] = self
        self._measurement = Measurement(groups=groups, alone=True).start()

    def end(self) -> Values:
        costs = self._measurement.stop()
        if self._is_shared:
            _warn_once("fits in threads share a process: of each only elapsed_s is known, and no other limit acts")
            return {"elapsed_s": costs["elapsed_s"]}
        if "cpu_seconds" in costs:
            writing_s = _writing_s() - self._writing_s
            costs |= {name: max(0.0, costs[name] - writing_s) for name in ("cpu_seconds", "user_cpu_seconds")}
            costs["mean_cpu_percent"] = 100 * costs["cpu_seconds"] / costs["elapsed_s"]
        return costs


@dataclass
class _Candidate:
    key: str  # of its run
    params: Mapping[str, Any]  # {} while they are not known
    splits: dict[int, Values] = field(default_factory=dict)  # what their fits have cost
    stop: Stop | None = None  # which limit one of them has broken
    skipped: str = ""  # why the others are
    ended_ms: int | None = None

    @property
    def name(self) -> str:
        words = [f"{name.rpartition('__')[2]}={value}" for name, value in self.params.items()]
        return " ".join(words)[:_MAX_NAME] or f"candidate {self.key.partition('/')[2]}"

    @property
    def summary(self) -> Values:
        """Of one fit: the means, and of memory the highest."""
        known = {name: [costs[name] for costs in self.splits.values() if name in costs] for name in SUMMARY}
        of = {name: max if name.startswith(("peak_", "memory_")) else fmean for name in SUMMARY}
        return {name: of[name](values) for name, values in known.items() if values}


class _Search:
    """The runs of a search, in its process. Only `close` waits for the store."""

    def __init__(self, estimator: Any, limits: str | None) -> None:
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID  # not at the top, see there
        from sklearn.model_selection import ParameterGrid

        from mlflow_sysmetrics.delivery.door_runs import place_here, source_tags
        from mlflow_sysmetrics.delivery.store import Store
        from mlflow_sysmetrics.delivery.writer import Writer

        self.key, self._estimator, self._began = uuid4().hex, estimator, time.monotonic()
        self.results: Mapping[str, Any] = {}  # known once the search has come to its end
        self._judge = process_criteria(limits).judge() if limits else None
        self._grid = [*ParameterGrid(estimator.param_grid)] if hasattr(estimator, "param_grid") else []
        self._candidates: dict[tuple[int, int], _Candidate] = {}
        self._handled = sys.exc_info()[1]  # by whoever searches: none of ours
        self._lock = threading.Lock()
        where = place_here()
        self._experiment_id, self._tags = where.experiment_id, source_tags()
        around = {MLFLOW_PARENT_RUN_ID: where.run_id} if where.run_id else {}
        name = f"{type(estimator).__name__} {type(estimator.estimator).__name__}"
        self.writer = Writer(Store(where.tracking_uri))
        self.writer.start()
        self._create(self.key, name, {**around, tags.KIND: "study"})
        self.writer.log(self.key, params={"limits": limits} if limits else {})
        until = time.monotonic() + _ANSWER_S  # what MLflow loads and makes for its first request is no cost of a fit
        while self.writer.run_id(self.key) is None and not self.writer.is_away and time.monotonic() < until:
            time.sleep(0.005)

    def _create(self, key: str, name: str, own: Mapping[str, str], parent: str | None = None) -> None:
        about = {**self._tags, **own}
        self.writer.create(key, experiment_id=self._experiment_id, name=name, tags=about, parent=parent)

    def begin(self, iteration: int, number: int, split: int) -> str:
        """A fit begins. Return why it is skipped, if it is."""
        with self._lock:
            if (iteration, number) not in self._candidates:
                params = self._grid[number] if self._grid and not iteration else {}
                candidate = _Candidate(f"{self.key}/{iteration}/{number}", params, skipped=self._foreseen(params))
                self._candidates[iteration, number] = candidate
                self._create(candidate.key, candidate.name, {tags.KIND: "trial"}, self.key)
            return self._candidates[iteration, number].skipped

    def end(self, iteration: int, number: int, split: int, costs: Values) -> None:
        """A fit has ended, at these costs."""
        with self._lock:
            candidate = self._candidates[iteration, number]
            candidate.splits[split], candidate.ended_ms = costs, now_ms()
            if self._judge and (stop := self._judge.crossed(costs)) and not candidate.stop:
                candidate.stop, candidate.skipped = stop, str(stop)
            if len(candidate.splits) == self._estimator.n_splits_:
                self.writer.log(candidate.key, summary=candidate.summary)

    def _foreseen(self, params: Mapping[str, Any]) -> str:
        """Why a candidate of a grid breaks a limit, too: see `Costs`.

        The one that has broken it must cost more than the one that meets it by more than the splits of that differ.
        """
        known = [each for each in self._candidates.values() if params and each.params]
        meets = [each for each in known if not each.skipped and len(each.splits) == self._estimator.n_splits_]
        for broken in known:
            if (stop := broken.stop) is None or (name := _only_number(params, broken.params)) is None:
                continue
            for met in meets:
                if _only_number(broken.params, met.params) == name:
                    near, middle, far = (each[name] for each in (met.params, broken.params, params))
                    costs = [each.get(stop.metric, math.inf) for each in met.splits.values()]
                    is_between = near < middle < far or near > middle > far
                    if is_between and stop.value - max(costs) > max(costs) - min(costs):
                        return f"foreseen from {name}={middle}: {stop}"
        return ""

    def close(self, error: BaseException | None) -> None:
        """End the runs with what is known of scores, and have the store take all."""
        status, why = "FINISHED", {}
        if error is not None and error is not self._handled:
            status, tag = ("FAILED", tags.ERROR) if isinstance(error, Exception) else ("KILLED", tags.STOP_REASON)
            why = {tag: f"{type(error).__name__}: {error}".partition("\n")[0]}
        with self._lock:
            ended = Counter(self._end(*place, each) for place, each in self._candidates.items())
            splits = [costs for each in self._candidates.values() for costs in each.splits.values()]
        counts = {"trials": ended.total(), "stopped": ended["KILLED"], "failed": ended["FAILED"]}
        cpu_s = sum(costs.get("cpu_seconds", math.nan) for costs in splits)  # if it is known of all
        elapsed_s = time.monotonic() - self._began
        self.writer.log(self.key, summary={**counts, "cpu_seconds": cpu_s, "elapsed_s": elapsed_s})
        self.writer.end(self.key, status, tags=why)
        if not self.writer.close(_ANSWER_S if self.writer.is_away else _CLOSE_S + _CLOSE_EACH_S * ended.total()):
            said = "MLflow did not take all data in time: %d runs are incomplete; `mlflow-sysmetrics sync` will help"
            logger.warning(said, self.writer.keep())

    def _end(self, iteration: int, number: int, candidate: _Candidate) -> str:
        """End the run of a candidate, and return its status."""
        results, count = self.results, self._estimator.n_splits_
        row = number + ([*results["iter"]].index(iteration) if "iter" in results else 0)
        candidate.params = results["params"][row] if results else candidate.params
        values = {name: float(results[name][row]) for name in results if _OF_SCORES.match(name)}
        table, failed = list[dict[str, float]](), 0
        for split in range(count):
            names = [name for name in values if name.startswith(f"split{split}_")]
            scores = {name.partition("_")[2]: values.pop(name) for name in names}
            table.append({"split": split, **scores, **candidate.splits.get(split, {})})
            failed += not all(map(math.isfinite, scores.values()))
        status, why = "FINISHED", {}
        if candidate.skipped:
            status, why = "KILLED", {tags.STOPPED_BY: tags.BY_CRITERIA, tags.STOP_REASON: candidate.skipped}
            if results and row == getattr(self._estimator, "best_index_", None):
                logger.warning("the best candidate has broken a limit: %s", candidate.skipped)
        elif not results:
            status, why = "KILLED", {tags.STOPPED_BY: tags.BY_EXPERIMENT_END, tags.STOP_REASON: "the search has ended"}
        elif failed:
            status, why = "FAILED", {tags.ERROR: f"{failed} of {count} splits have no score; scikit-learn warns why"}
        if len(candidate.splits) < count:
            values |= candidate.summary
        name = {"mlflow.runName": candidate.name}
        self.writer.log(candidate.key, params=candidate.params, tags=name, summary=values, tables={_TABLE: table})
        self.writer.end(candidate.key, status, tags=why, end_ms=candidate.ended_ms)
        return status


def _only_number(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The name of the only parameter in which two candidates of a grid differ, if it is a number."""
    differ = [name for name in one if one[name] is not other.get(name)] if one.keys() == other.keys() else []
    return differ[0] if len(differ) == 1 and all(isinstance(each[differ[0]], Real) for each in (one, other)) else None
