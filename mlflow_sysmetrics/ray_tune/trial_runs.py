"""The MLflow runs of an experiment's trials, and the run around them: opened, filled and ended without waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Hashable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from mlflow_sysmetrics.delivery.leftovers import keep
from mlflow_sysmetrics.delivery.points import Point, points_now
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.delivery.time_limit import within
from mlflow_sysmetrics.delivery.writer import Writer
from mlflow_sysmetrics.ranks import figures_in_turn
from mlflow_sysmetrics.ray_tune.artifacts import Artifacts
from mlflow_sysmetrics.ray_tune.destination import Destination
from mlflow_sysmetrics.ray_tune.endings import SWEPT, Ending
from mlflow_sysmetrics.ray_tune.outcome import Tally
from mlflow_sysmetrics.ray_tune.trial_watches import TrialWatches
from mlflow_sysmetrics.redact import get_logger, lasting_uri
from mlflow_sysmetrics.tags import STOP
from mlflow_sysmetrics.ui import save_costs, trials_of

logger = get_logger(__name__)

_STUDY = "study"  # the writer's key of the run around the trials, where that is made here
_LAST_READINGS_S = 10.0
_VIEW_S = 10.0


class Told(NamedTuple):
    """What a trial says about its costs: the names that it reports as metrics, and the figures that it measures."""

    reported: Collection[str] = ()
    costs: Mapping[str, float] = MappingProxyType({})


NOTHING_TOLD = Told()


class TrialRuns:
    """Write the runs of one experiment's trials, known by the trials' ids.

    Args:
        client: of the store.
        place: where the runs go.
        study_tags: of the run around the trials, where that is made here.
        groups: what is read of watched processes; () for nothing.
        interval_s: seconds between two readings.
    """

    def __init__(
        self,
        client: MlflowClient,
        place: Destination,
        study_tags: Mapping[str, str],
        groups: Collection[str],
        interval_s: float,
    ) -> None:
        self._client = client
        self._began = time.time()
        self.place, self._study_tags = place, study_tags
        restarts = int((place.figures or {}).get("restarts", 0))
        self._outcome = Tally({trial_id: run.ending for trial_id, run in place.runs.items()}, restarts)
        self._writer = Writer(Store(client.tracking_uri))
        self._asking = Store(client.tracking_uri)  # its own time limit: the writer changes that of the other
        self._watches = TrialWatches(groups, interval_s, self.log) if groups else None
        self._artifacts = Artifacts(client, self._writer.run_id)
        self._written: bool | None = None  # known after close

    def start(self) -> None:
        """Start the threads that write and watch."""
        self._writer.start()
        if self._watches is not None:
            self._watches.start()

    def save_view(self) -> None:
        """Save the view of the UI that compares the trials by what they cost, within seconds, and log its link."""
        place, parent = self.place, self.place.parent_run_id or self._writer.run_id(_STUDY)
        if parent is None:
            return
        name = f"What trials cost, {time.strftime('%d %b %H:%M', time.localtime(self._began))}"
        link = within(_VIEW_S, lambda: save_costs(self._client, place.experiment_id, name, trials_of(parent), parent))
        if link:
            logger.info("what the trials cost, in the MLflow UI: %s", link)

    def run_id(self, trial_id: str) -> str | None:
        """MLflow's id of a trial's run; None while the store has not created it."""
        return self._writer.run_id(trial_id)

    def asked_to_stop(self) -> dict[str, str]:
        """The ids of runs of the experiment in MLflow that run and have the tag ``sysmetrics.stop``, and its value."""
        return self._asking.running_with(self.place.experiment_id, STOP)

    def trial_of(self, run_id: str) -> str | None:
        """The trial that has this run, if it is open."""
        return next((key for key in self._open_trials() if self._writer.run_id(key) == run_id), None)

    def is_study(self, run_id: str) -> bool:
        """Whether this is the run around the trials."""
        return run_id in (self.place.parent_run_id, self._writer.run_id(_STUDY))

    def tag_study(self, tags: Mapping[str, str]) -> None:
        """Tag the run around the trials, within seconds."""
        if self._writer.is_open(_STUDY):
            self.log(_STUDY, tags=tags)
        elif (run_id := self.place.parent_run_id) is not None:
            listed = [RunTag(name, value) for name, value in tags.items()]
            self._asking.log_batch(run_id, (), (), listed)

    def clear_stop(self, run_id: str) -> None:
        """Remove the tag ``sysmetrics.stop``, so that it does not end a process that continues the run."""
        self._asking.delete_tag(run_id, STOP)

    @property
    def store_is_away(self) -> bool:
        """Whether the store did not take what it was sent last."""
        return self._writer.is_away

    def is_open(self, trial_id: str) -> bool:
        """Whether the trial's run was opened, and not ended since."""
        return self._writer.is_open(trial_id)

    def open(
        self, trial_id: str, *, name: str, tags: Mapping[str, str], study_name: str, run_id: str | None = None
    ) -> None:
        """Have a trial's run created, or that with this id go on, nested under the run around the trials."""
        earlier = self.place.runs.get(trial_id)
        parent = None if self.place.is_own else {MLFLOW_PARENT_RUN_ID: str(self.place.parent_run_id)}
        self._open_study(study_name)
        self._writer.create(
            trial_id,
            experiment_id=self.place.experiment_id,
            name=name,
            tags={**(parent or {}), **tags},
            run_id=run_id or (earlier.run_id if earlier else None),
            parent=_STUDY if parent is None else None,
        )

    def log(
        self,
        trial_id: str,
        points: Iterable[Point] = (),
        tags: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
    ) -> None:
        """Queue these for a trial's run. No-op if it has ended."""
        with suppress(KeyError):
            self._writer.log(trial_id, points, params=params, tags=tags)

    def repeat(self, trial_id: str) -> None:
        """The trial begins again, from an earlier step."""
        self._writer.repeat(trial_id)
        self._outcome.restart()

    def watch(self, trial_id: str, actor: Any) -> None:
        """Have the process of a trial's actor watched until the trial's end."""
        if self._watches is not None:
            self._watches.watch(trial_id, actor)

    def pause(self, trial_id: str) -> None:
        """The trial has no process until it is watched again: it is paused, or has failed and is to be repeated."""
        if self._watches is not None:
            self._watches.pause(trial_id)

    def save_files(self, trial_id: str, folder: str) -> None:
        """Have a folder copied into a trial's run."""
        self._artifacts.save(trial_id, folder)

    def end(self, trial_id: str, ending: Ending, told: Told = NOTHING_TOLD) -> None:
        """End a trial's run, when its process's last readings are there, and log its costs."""

        def finish(costs: Mapping[str, float], death: Mapping[str, str]) -> None:
            if ending.process_died:
                self.log(trial_id, tags={**death, **ending.tags})
            self._end(trial_id, ending, costs, told)

        if self._watches is None:
            finish({}, {})
        else:
            self._watches.release(trial_id, finish)

    def close(self, timeout_s: float, told: Mapping[str, Told] | None = None) -> bool:
        """End what is open and write what is left, for a limited time; say whether all of it was written. Idempotent.

        The rest goes to disk, and ``mlflow-sysmetrics sync`` delivers it. `told` is by trial.
        """
        if self._written is not None:
            return self._written
        told = told or {}
        timeout_s = min(timeout_s, threading.TIMEOUT_MAX)
        deadline = time.monotonic() + timeout_s
        if self._watches is not None:
            for trial_id in self._open_trials():
                self.end(trial_id, SWEPT, told.get(trial_id, NOTHING_TOLD))
            self._watches.close(min(_LAST_READINGS_S, timeout_s / 2))  # the rest is for the ends of runs
        self._reopen_unfinished()
        for trial_id in self._open_trials():  # those of the interruption, and those whose figures did not come in time
            self._end(trial_id, SWEPT, {}, told.get(trial_id, NOTHING_TOLD))
        self._end_study()
        self._written = self._writer.close(max(0.0, deadline - time.monotonic()))
        if not self._written:
            note: dict[Hashable, dict[str, str]] = {_STUDY: {MLFLOW_RUN_NOTE: self._description(left=True)}}
            kept = keep(self._writer.left(lasting_uri(self._client.tracking_uri), note))
            logger.warning(
                "MLflow did not take all data before the time was up: %d runs are incomplete; `mlflow-sysmetrics sync` "
                "will complete them",
                kept,
            )
        self._artifacts.close(max(0.0, deadline - time.monotonic()))  # last: how runs ended matters more
        return self._written

    def _open_trials(self) -> list[str]:
        return [str(key) for key in self._writer.open_keys() if key != _STUDY]

    def _open_study(self, name: str | None = None) -> None:
        """Have the run around the trials created, or go on, if that is made here and not open."""
        if self.place.is_own and not self._writer.is_open(_STUDY):
            self._writer.create(
                _STUDY,
                experiment_id=self.place.experiment_id,
                name=name,
                tags=self._study_tags,
                run_id=self.place.parent_run_id,
            )

    def _reopen_unfinished(self) -> None:
        """In a continued experiment, reopen the runs that the interruption left open and that did not go on."""
        if self.place.runs:
            self._open_study()
        for trial_id, earlier in self.place.runs.items():
            if earlier.ending is None and not self._outcome.has(trial_id):
                self._writer.create(trial_id, experiment_id=self.place.experiment_id, run_id=earlier.run_id)

    def _end(self, trial_id: str, ending: Ending, costs: Mapping[str, float], told: Told) -> None:
        earlier = self.place.runs.get(trial_id)
        costs = _since_before(earlier.figures if earlier else {}, {**told.costs, **costs})
        own = {name: value for name, value in costs.items() if name not in told.reported}
        with suppress(KeyError):  # it has been ended, since its time was up: perhaps by another thread, just now
            self._writer.log(trial_id, figures=points_now(own, step=0))
            self._writer.end(trial_id, ending.status, tags=ending.tags)
            self._outcome.end(trial_id, ending)

    def _end_study(self) -> None:
        """End the run around the trials, if it was made here, with what became of them."""
        if not self._writer.is_open(_STUDY):
            return
        outcome, elapsed_s = self._outcome, {"elapsed_s": time.time() - self._began}
        figures = outcome.figures | _since_before(self.place.figures, elapsed_s)
        self._writer.log(_STUDY, figures=points_now(figures, step=0))
        self._writer.end(_STUDY, outcome.status, tags={MLFLOW_RUN_NOTE: self._description()})

    def _description(self, *, left: bool = False) -> str:
        return self._outcome.text(self._writer.lost, self._writer.refused, self._writer.away_s, left=left)


def _since_before(earlier: Mapping[str, float] | None, now: Mapping[str, float]) -> dict[str, float]:
    """The figures with those from before an interruption, if there are any; {} where there are no new ones."""
    return figures_in_turn([earlier, now]) if now and earlier != {} else dict(now)
