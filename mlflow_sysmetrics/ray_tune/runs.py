"""The MLflow runs of an experiment's trials, and the run around them: opened, filled and ended without waiting."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from mlflow_sysmetrics.delivery.operations import Point
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.delivery.waiting import within
from mlflow_sysmetrics.delivery.writer import Writer
from mlflow_sysmetrics.ranks import COUNTS, summary_in_turn
from mlflow_sysmetrics.ray_tune.destination import Destination, Earlier
from mlflow_sysmetrics.ray_tune.endings import SWEPT, End
from mlflow_sysmetrics.ray_tune.measuring import TrialMeasurements
from mlflow_sysmetrics.redact import get_logger, lasting_uri

logger = get_logger(__name__)
_LAST_READINGS_S, _VIEW_S, _LOOK_EVERY_S = 10.0, 10.0, 0.2


class Runs:
    """The runs of one experiment, those of trials by the trials' ids. Only `close` and `save_view` wait."""

    def __init__(self, client: MlflowClient, place: Destination, study_id: str, study_tags: Mapping[str, str]) -> None:
        self.place, self._client, self._study_id, self._study_tags = place, client, study_id, study_tags
        self._study = self._key("study")  # of the run around the trials, where that is made here
        self._began = time.time()
        self._statuses = {trial_id: run.status for trial_id, run in place.trials.items() if run.status is not None}
        self._swept = False
        self._restarts = int(((place.study and place.study.summary) or {}).get("restarts", 0))
        self.writer = Writer(Store(client.tracking_uri))
        self.store = Store(client.tracking_uri)  # with a time limit of its own: the writer changes that of the other
        self._written: bool | None = None  # known after close
        self._copies: list[threading.Thread] = []
        self._copying = threading.Lock()

    def start(self, groups: Collection[str], interval_s: float) -> None:
        """Start the threads that write and measure."""
        self.writer.start()
        self.measured = TrialMeasurements(groups, interval_s, self.log).start()

    def run_id(self, trial_id: str) -> str | None:
        return self.writer.run_id(self._key(trial_id))

    def where(self, trial_id: str) -> dict[str, str | None]:
        """What the trial's process has to know to find its run. Nothing of it is secret."""
        uri, run_id = lasting_uri(self._client.tracking_uri), self.run_id(trial_id)
        return {"uri": uri, "experiment_id": self.place.experiment_id, "key": self._key(trial_id), "run_id": run_id}

    def open(self, trial_id: str, name: str, tags: Mapping[str, str], study_name: str, run_id: str | None) -> None:
        """Have a trial's run created, or that with this id go on, nested under the run around the trials."""
        parent, earlier = self.place.parent_run_id, self.place.trials.get(trial_id)
        if parent is None:
            self._create(self._study, study_name, self._study_tags, self.place.study and self.place.study.run_id)
        else:
            tags = {MLFLOW_PARENT_RUN_ID: parent, **tags}
        run_id = run_id or (earlier and earlier.run_id)
        self._create(self._key(trial_id), name, tags, run_id, self._study if parent is None else None)

    def log(
        self,
        trial_id: str,
        points: Iterable[Point] = (),
        tags: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
    ) -> None:
        """Queue these for a trial's run. No-op if it has ended."""
        with suppress(KeyError):
            self.writer.log(self._key(trial_id), points, params=params, tags=tags)

    def repeat(self, trial_id: str) -> None:
        """The trial begins again, from an earlier step."""
        self.writer.repeat(self._key(trial_id))
        self._restarts += 1

    def end(
        self,
        trial_id: str,
        told: Mapping[str, float],
        reported: Collection[str],
        how: Callable[[Any], End],
        answer: Future[Any] | None = None,
    ) -> None:
        """End a trial's run once the last readings of its process are there, as `how` says by its trainable's `answer`.

        The summary is what was `told` and measured, without the names that the trial has `reported` as its own metrics.
        """

        def then(measured: dict[str, float], death: Mapping[str, str], said: Any) -> None:
            end, summary = how(said), {**told, **_since_before(self.place.trials.get(trial_id), measured)}
            own = {name: value for name, value in summary.items() if name not in reported}
            self._end(trial_id, end, own, death if end.process_died else {})

        self.measured.end(trial_id, then, answer)

    def save_files(self, trial_id: str, folder: str) -> None:
        """Have a folder copied into a trial's run, one after the other: files may be large, and nothing else waits."""

        def copy() -> None:
            try:
                with self._copying:
                    while (run_id := self.run_id(trial_id)) is None and self._written is None:
                        time.sleep(_LOOK_EVERY_S)
                    self._client.log_artifacts(str(run_id), folder)
            except Exception:
                logger.warning("the files of trial %s are not in its run", trial_id, exc_info=True)

        # A daemon, unlike an executor's: an upload that hangs does not hold up the end of the program.
        self._copies.append(threading.Thread(target=copy, name="mlflow-sysmetrics-files", daemon=True))
        self._copies[-1].start()

    def close(self, timeout_s: float) -> bool:
        """End what is open and write what is left, for a limited time; say whether all of it was written. Idempotent.

        The rest goes to disk, and ``mlflow-sysmetrics sync`` delivers it.
        """
        if self._written is not None:
            return self._written
        timeout_s = min(timeout_s, threading.TIMEOUT_MAX)
        deadline = time.monotonic() + timeout_s
        self.measured.close(min(_LAST_READINGS_S, timeout_s / 2))  # the rest is for the ends of runs
        if (study := self.place.study) is not None:  # it says what became of the trials, though none may have gone on
            self._create(self._study, "", self._study_tags, study.run_id)
        for trial_id, run in self.place.trials.items():
            if run.status is None and trial_id not in self._statuses:  # left open by the interruption, and not gone on
                self.open(trial_id, "", {}, "", None)
        for key in self.writer.open_keys():
            if key != self._study:
                self._end(key.partition("/")[2], SWEPT, {}, {})
        self._end_study()
        self._written = self.writer.close(max(0.0, deadline - time.monotonic()))
        if not self._written:
            said = "MLflow did not take all data in time: %d runs are incomplete; `mlflow-sysmetrics sync` will help"
            logger.warning(said, self.writer.keep())
        for copy in self._copies:  # last: how runs ended matters more
            copy.join(max(0.0, deadline - time.monotonic()))
        if late := sum(copy.is_alive() for copy in self._copies):
            logger.warning("there was no time to copy all files: those of %d trials are not in their runs", late)
        return self._written

    def save_view(self) -> str | None:
        """Save the view of the UI that compares the trials by what they cost, within seconds; return its link."""
        from mlflow_sysmetrics.ui import save_costs, trials_of

        place, parent = self.place, self.place.parent_run_id or self.writer.run_id(self._study)
        if parent is None:
            return None
        name = f"What trials cost, {time.strftime('%d %b %H:%M', time.localtime(self._began))}"
        return within(_VIEW_S, lambda: save_costs(self._client, place.experiment_id, name, trials_of(parent), parent))

    def is_study(self, run_id: str) -> bool:
        """Whether this is the run around the trials."""
        return run_id in (self.place.parent_run_id, self.writer.run_id(self._study))

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Tag a run, whoever's it is, within seconds. MlflowException if the store does not take it."""
        self.store.log_batch(run_id, [], [], [RunTag(name, value) for name, value in tags.items()])

    def _key(self, trial_id: str) -> str:
        return f"{self._study_id}/{trial_id}"

    def _create(
        self, key: str, name: str, tags: Mapping[str, str], run_id: str | None, parent: str | None = None
    ) -> None:
        where = self.place.experiment_id
        self.writer.create(key, experiment_id=where, name=name, tags=tags, run_id=run_id, parent=parent)

    def _end(self, trial_id: str, end: End, summary: Mapping[str, float], death: Mapping[str, str]) -> None:
        with suppress(KeyError):  # it has been ended, since its time was up: perhaps by another thread, just now
            self.writer.log(self._key(trial_id), summary=summary)
            self.writer.end(self._key(trial_id), end.status, tags={**death, **end.tags})
            self._statuses[trial_id] = end.status
            self._swept = self._swept or end is SWEPT

    def _end_study(self) -> None:
        """End the run around the trials, if it was made here, with what became of them."""
        if not self.writer.is_open(self._study):
            return
        counts = Counter(self._statuses.values())
        trials, finished, killed, failed = counts.total(), counts["FINISHED"], counts["KILLED"], counts["FAILED"]
        summary = dict(zip(COUNTS, map(float, (trials, killed, failed, self._restarts)), strict=True))
        summary |= _since_before(self.place.study, {"elapsed_s": time.time() - self._began})
        said = f"**{trials} trials**: {finished} came to their end, {killed} were stopped before, {failed} failed."
        self.writer.log(self._study, summary=summary)
        self.writer.end(self._study, "KILLED" if self._swept else "FINISHED", tags={MLFLOW_RUN_NOTE: said})


def _since_before(earlier: Earlier | None, summary: Mapping[str, float]) -> dict[str, float]:
    """The summary with that from before an interruption, if there is one; {} where that is unknown."""
    if not summary or earlier is None or earlier.summary == {}:
        return dict(summary)
    return summary_in_turn([earlier.summary, summary])
