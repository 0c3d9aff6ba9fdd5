"""Before the first trials: their processes wait for each other, and time each kind of trial for the forecast.

Tune gives a finished trial's process to the next trial and drops the process that was starting for it. With trials
shorter than a process's start, one process would end up with all the work.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import logging
import math
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import click
import numpy as np
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.experimental import internal_kv

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.splits import thinned
from entrypoints.limits.cost_history import tell
from entrypoints.limits.noise import kind
from entrypoints.models import trained
from entrypoints.models.configuration import Configuration
from entrypoints.models.cross_validation import LATENCY_ROWS
from entrypoints.models.fold import Fold
from entrypoints.runs.tags import TRAINING_STEP
from entrypoints.study.study import Study
from entrypoints.text import duration
from mlflow_sysmetrics.limits import Values

WAIT_TIMEOUT_S = 60.0
BEGIN_TIMEOUT_S = 5.0  # by then Tune knows of each process that is up
POLL_S = 0.01  # for each process that waits, so that many ask no more often than few
MAX_POLL_S = 0.2
KIND_WITHIN_S = 0.2
ALL_WITHIN_S = 5.0
MAX_KINDS = 32
MAX_STEPS, MIN_STEPS = 100, 3
# The overhead of a trial: free the last one's memory, send a result to the driver, get the next configuration.
BETWEEN_TRIALS_S = 0.03
LONG_S = 3600.0  # a study that takes longer is announced with what would shorten it

_ARRIVED, _TIMED, _BEGUN, _OPEN, _FORECAST = "arrived", "timed", "begun", "open", "forecast"
REFERENCE_SHARE = 0.1  # of what the search takes,
TIMED_ROWS = 1000  # by the time that this number takes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WarmUp:
    """What the first processes of a study do at once, as loaded as in the search. Ray must be running.

    They meet by a few keys in the table that Ray's head process keeps for all nodes. A process that does not come costs
    time, not the study.

    Attributes:
        parties: how many processes wait for each other.
        kinds: one configuration of each kind, which each of them times.
        references: whose libraries each of them loads, so that none grows by them later.
        cost_history: of the costs of trials, if there are limits.
        name: of the keys.
    """

    parties: int
    kinds: list[Configuration]
    references: list[Configuration] = field(default_factory=list)
    cost_history: ActorHandle | None = None
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def join(self, data: Prepared) -> bool:
        """Wait until all processes are up, and time each kind; False for a process that comes later: it does neither.

        What it has seen is then known here and in the history of costs.
        """
        if len(self._keys(_ARRIVED)) >= self.parties or self._keys(_OPEN):
            return False
        self._meet(_ARRIVED, self.parties, WAIT_TIMEOUT_S)
        for reference in self.references:
            reference.find_algorithm(data.task)
        timed = time_kinds(self.kinds, data)
        tell(self.cost_history, [(kind, costs) for kind, costs in zip(self.kinds, timed, strict=True) if costs])
        self._meet(_TIMED, len(self._keys(_ARRIVED)), WAIT_TIMEOUT_S, timed)
        return True

    def begin(self) -> None:
        """Return when Tune has begun all of the first trials.

        When a trial ends, Tune drops other processes that it does not yet know to be up. A trial may take only a
        few milliseconds, so without this wait the whole study could run in one process.
        """
        self._meet(_BEGUN, len(self._keys(_ARRIVED)), BEGIN_TIMEOUT_S)

    def timed(self) -> list[list[dict[str, float] | None]]:
        """What each process has seen of the ``kinds``."""
        return [json.loads(internal_kv._internal_kv_get(key)) for key in self._keys(_TIMED)]

    def tell_forecast(self, seconds: float) -> None:
        """Let references know what all trials of the search are expected to take."""
        self._put(_FORECAST, seconds)

    def reference_rows(self, reference: Configuration, data: Prepared) -> int | None:
        """On how many rows of a fold a reference is trained, so that it takes a tenth of the search; None: on all."""
        deadline = time.monotonic() + BEGIN_TIMEOUT_S
        while not self._keys(_FORECAST):
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL_S)
        search_s = json.loads(internal_kv._internal_kv_get(self._keys(_FORECAST)[0]))
        if search_s == math.inf:
            return None
        rows = min(data.split.fit_rows, TIMED_ROWS)
        timed_s = _timed(reference, data, rows)["elapsed_s"]
        affordable = max(rows, int(rows * REFERENCE_SHARE * search_s / timed_s))
        return None if affordable >= data.split.fit_rows else affordable

    def remove(self) -> None:
        """Delete its keys: a cluster outlives the study."""
        with contextlib.suppress(RayError):
            internal_kv._internal_kv_del(self._key(), del_by_prefix=True)

    def _key(self, stage: str = "") -> str:
        return f"sysmetrics/{self.name}/{stage}"

    def _keys(self, stage: str) -> list[bytes]:
        return list(internal_kv._internal_kv_list(self._key(stage)))

    def _put(self, stage: str, value: Any = None) -> None:
        internal_kv._internal_kv_put(f"{self._key(stage)}/{uuid.uuid4().hex}", json.dumps(value))

    def _meet(self, stage: str, parties: int, timeout_s: float, found: Any = None) -> None:
        """Wait until this number have come this far, or one that waits has given up."""
        self._put(stage, found)
        deadline = time.monotonic() + timeout_s
        while len(self._keys(stage)) < parties and not self._keys(_OPEN):
            if time.monotonic() > deadline:
                logger.warning("The study starts without waiting for all of its processes: not within %g s", timeout_s)
                self._put(_OPEN)
            time.sleep(min(MAX_POLL_S, POLL_S * self.parties))


def trial_costs(
    configuration: Configuration, data: Prepared, *, step_s: float, fit_s: float, validate_s: float, ending_s: float
) -> dict[str, float]:
    """The times of a trial that does all its steps, on all folds.

    Args:
        configuration: of the trial.
        data: that it is trained on.
        step_s: the seconds of a step of one fold's model,
        fit_s: of the training call in it,
        validate_s: of a validation,
        ending_s: and of all that the model shows at its end.
    """
    rows = data.split.fit_rows
    steps = configuration.steps(rows)
    reports = 0
    if configuration.axis == TRAINING_STEP:
        reports = math.ceil(steps / configuration.report_steps(rows))
    fold_s = steps * step_s + reports * validate_s + ending_s
    return {
        "mean_step_time_ms": fit_s * 1e3,
        "training_time_s": fit_s * steps,
        "elapsed_s": len(data.split.folds) * fold_s + BETWEEN_TRIALS_S,
    }


def representatives(configurations: Iterable[Configuration]) -> list[Configuration]:
    """The first configuration of each kind, of the first kinds."""
    first: dict[Hashable, Configuration] = {}
    for configuration in configurations:
        first.setdefault(kind(configuration), configuration)
    return list(first.values())[:MAX_KINDS]


def time_kinds(
    kinds: Iterable[Configuration], data: Prepared, clock: Callable[[], float] = time.perf_counter
) -> list[dict[str, float] | None]:
    """What a trial of each configuration would cost, from a model that is timed in this process.

    None for those that fail, or for which no time is left. ``clock`` may count the CPU seconds of this process.
    """
    deadline = clock() + ALL_WITHIN_S
    timed: list[dict[str, float] | None] = []
    for configuration in kinds:
        costs = None
        if clock() < deadline:
            with contextlib.suppress(Exception), np.errstate(all="ignore"):  # the trial itself will report the error
                costs = _timed(configuration, data, clock=clock)
        timed.append(costs)
    return timed


def forecast(trials: Sequence[Configuration], rounds: Iterable[Iterable[Values | None]]) -> dict[str, float]:
    """How many seconds each trial takes, by the id of its configuration.

    Args:
        trials: their configurations.
        rounds: what each of some processes has timed for their ``representatives``. A kind that none has timed takes
            the mean of the others.
    """
    kinds = representatives(trials)
    seen: dict[Hashable, list[float]] = defaultdict(list)
    for timed in rounds:
        for configuration, costs in zip(kinds, timed, strict=True):
            if costs is not None:
                seen[kind(configuration)].append(costs["elapsed_s"])
    seconds = {each: fmean(elapsed_s) for each, elapsed_s in seen.items()}
    usual_s = fmean(seconds.values()) if seconds else BETWEEN_TRIALS_S
    return {trial.id: seconds.get(kind(trial), usual_s) for trial in trials}


def search_seconds(trials_s: Iterable[float], cpus: int) -> float:
    """The wall time of a search: trials are handed out in order, each to the first free core."""
    free_at = [0.0] * cpus
    for trial_s in trials_s:
        heapq.heapreplace(free_at, free_at[0] + trial_s)
    return max(free_at)


def announce(study: Study, trials: int, cpus: int, search_s: float, left_s: float) -> None:
    """Say what is about to happen.

    Args:
        study: which is searched.
        trials: how many are to be run.
        cpus: how many at once.
        search_s: how long those of a grid are expected to take in all.
        left_s: after how many seconds the search ends; infinite without a time limit.
    """
    settings, limits = study.settings, study.trial_limits
    within = ""
    if settings.time_limit_s:
        within = f", at most {duration(left_s)} (time_limit_s={settings.time_limit_s:g} is the whole command's)"
    of = f" of {study.size}" if trials < study.size else ""
    where = f"on {cpus} CPU cores"
    if study.learns:
        click.echo(f"Search: up to {trials}{of} models, each on {settings.folds} folds, {where}{within}")
    else:
        takes = duration(search_s)
        click.echo(f"Search: {trials}{of} trials of {settings.folds} folds {where}, about {takes}{within}")
        if min(search_s, left_s) > LONG_S:
            within_an_hour = max(1, int(trials * 3600 / search_s))
            click.echo(
                f"This study takes about {takes} {where} and starts now. To shorten it, stop it and set search=tpe, "
                f"max_trials (about {within_an_hour} of the {trials} take an hour), max_rows, folds (now "
                f"{settings.folds}), length, or time_limit_s (the best by then counts)."
            )
    if limits.rules:
        click.echo(f"Limits: {limits}; they may end the search sooner")
    if study.races:
        click.echo("Racing: a trial ends once it cannot become the best any more; with race=off all run to their end")


def _timed(
    configuration: Configuration,
    data: Prepared,
    fit_rows: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """What a trial would cost, by some steps of one fold's model, on at most ``fit_rows`` rows."""
    (fit, held_out), preprocessing = data.split.folds[0], data.preprocessings[0]
    if fit_rows is not None:
        fit = thinned(fit, data.y, fit_rows, in_classes=data.n_classes > 0)
    fold = Fold(configuration, data, 0, fit, held_out, preprocessing)
    longest = configuration.steps(data.split.fit_rows)
    if longest > MIN_STEPS:
        fold.step()  # the first step allocates
    steps_before, trained_s = fold.steps, fold.training_time_s
    began = clock()
    with contextlib.suppress(FloatingPointError):  # until then a diverging model costs what any other does
        while fold.steps < longest:
            fold.step()
            steps = fold.steps - steps_before
            if steps >= MAX_STEPS or (steps >= MIN_STEPS and clock() - began >= KIND_WITHIN_S):
                break
    steps = fold.steps - steps_before
    ended = clock()
    fold.model.evaluated("val", held_out)
    validated = clock()
    trained.show(fold.model, held_out, math.ceil(LATENCY_ROWS / len(data.split.folds)))
    return trial_costs(
        configuration,
        data,
        step_s=(ended - began) / steps,
        fit_s=(fold.training_time_s - trained_s) / steps,
        validate_s=validated - ended,
        ending_s=clock() - validated,
    )
