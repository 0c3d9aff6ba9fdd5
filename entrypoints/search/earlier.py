"""What earlier commands have left of a study that is continued: finished trials, and the runs of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import Run

from entrypoints.limits.ledger import Known
from entrypoints.mlflow_io import search_runs
from entrypoints.models.configuration import Configuration, parsed, trial_key
from entrypoints.search.record import TrialRecord
from entrypoints.search.trial_end import TrialEnd
from entrypoints.settings import SHARED
from entrypoints.tags import BEST_PREFIX, CONVERGED, DIVERGED, END, FEASIBLE
from entrypoints.trial_run import TrialRun
from mlflow_sysmetrics.tags import BY_PERSON, BY_TUNE, ERROR, KIND, OF_AN_END, STOP, STOPPED_BY

_OF_AN_END = (*OF_AN_END, STOP, END, DIVERGED, CONVERGED, FEASIBLE)


@dataclass(frozen=True)
class Earlier:
    """What there is already.

    Attributes:
        done: the trials that need not be run again, in the order of the study's configurations.
        known: what they tell the ledger.
        open_runs: the run that each other trial has already, by its configuration's ``trial_key``.
        search_s: seconds in which at least one of the done trials ran.
    """

    done: tuple[TrialRecord, ...] = ()
    known: tuple[Known, ...] = ()
    open_runs: Mapping[str, str] = field(default_factory=dict)
    search_s: float = 0.0

    def left(self, trials: Iterable[Configuration]) -> list[Configuration]:
        """Those of the study's configurations that still have to be run."""
        done = {trial.configuration.trial_key for trial in self.done}
        return [trial for trial in trials if trial.trial_key not in done]

    def in_order(self, records: dict[str, TrialRecord], trials: Iterable[Configuration]) -> dict[str, TrialRecord]:
        """The records of a search in the order of its configurations, whichever command has run them."""
        if not self.done:
            return records
        places = {trial.trial_key: place for place, trial in enumerate(trials)}
        each = sorted(records.values(), key=lambda record: places[record.configuration.trial_key])
        return {record.trial_id: record for record in each}

    def run_of(self, configuration: Configuration) -> str | None:
        """The run in which a trial goes on, or None."""
        return self.open_runs.get(configuration.trial_key)


NOTHING = Earlier()


def read(client: MlflowClient, study: Run, trials: Iterable[Configuration]) -> Earlier:
    """What the runs of a study's trials hold. Nothing is changed."""
    runs = {_key(run): run for run in sorted(_children(client, study), key=_is_done) if _is_trial(run)}
    done, known, open_runs, spans = [], [], {}, []
    for configuration in trials:
        run = runs.get(configuration.trial_key)
        if run is None:
            continue
        end = TrialEnd.read(run.data.tags)
        if not _is_done(run):
            open_runs[configuration.trial_key] = run.info.run_id
            continue
        record = _record(run, configuration, end or TrialEnd([]))
        done.append(record)
        if end is not None and end.expected is not None:
            known.append((configuration, record.figures, end.expected, record.end))
        if run.info.end_time is not None:
            ended_s = run.info.end_time / 1000
            spans.append((ended_s - record.figures.get("elapsed_s", 0.0), ended_s))
    return Earlier(tuple(done), tuple(known), open_runs, _covered_s(spans))


def settle(client: MlflowClient, study: Run) -> None:
    """Correct the status of every run of a study that no process works on, and remove the tags of an earlier end."""
    for run in _children(client, study):
        run_id, is_open = run.info.run_id, _is_trial(run) and not _is_done(run)
        if _is_trial(run) and not run.data.params:
            client.delete_run(run_id)  # created just before the command was killed: its trial is unknown
        elif _is_trial(run) and not is_open:
            if run.info.status != _status(run):
                client.set_terminated(run_id, _status(run))
        elif run.info.status == "RUNNING":
            client.set_terminated(run_id, "KILLED")
        if is_open:
            _forget(client, run, _OF_AN_END)
    _forget(client, study, (ERROR, BEST_PREFIX, STOP, STOPPED_BY))


def _is_trial(run: Run) -> bool:
    return bool(run.data.tags.get(KIND) == "trial")


def _is_done(run: Run) -> bool:
    """Whether a trial ended by itself, or was ended by its limits, a scheduler or a person.

    A trial writes its figures and its ``TrialEnd`` last; its status may be missing.
    """
    tags = run.data.tags
    if TrialEnd.read(tags) is not None and "elapsed_s" in run.data.metrics:
        return True
    return run.info.status == "KILLED" and tags.get(STOPPED_BY) in (BY_TUNE, BY_PERSON)


def _status(run: Run) -> str:
    """The status of a trial that is done."""
    end = TrialEnd.read(run.data.tags)
    return "FINISHED" if end is not None and end.ending is None else "KILLED"


def _record(run: Run, configuration: Configuration, end: TrialEnd) -> TrialRecord:
    trial = TrialRun.of(run)
    return TrialRecord(
        trial_id=trial.trial_id,
        configuration=configuration,
        status=_status(run),
        figures=trial.figures,
        folds=end.folds,
        diverged=trial.diverged,
        converged=trial.converged,
        ending=end.ending,
        expected=end.expected,
        by_person=trial.stopped_by == BY_PERSON,
        run_id=trial.run_id,
    )


def _key(run: Run) -> str:
    """The ``trial_key`` of the trial in a run."""
    trial = TrialRun.of(run)
    searched = {name: parsed(text) for name, text in trial.params.items() if name not in SHARED}
    return trial_key(searched, trial.repeat)


def _children(client: MlflowClient, study: Run) -> Iterator[Run]:
    return search_runs(client, study.info.experiment_id, f"tags.mlflow.parentRunId = '{study.info.run_id}'")


def _forget(client: MlflowClient, run: Run, beginnings: tuple[str, ...]) -> None:
    for name in run.data.tags:
        if name.startswith(beginnings):
            client.delete_tag(run.info.run_id, name)


def _covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """The length of a union of stretches of time."""
    covered, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered
