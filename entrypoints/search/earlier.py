"""What earlier commands have left of a study that is continued: finished trials, and the runs of the others."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from entrypoints.limits.cost_history import Cost
from entrypoints.mlflow_io import figures_of, search_runs
from entrypoints.models.configuration import Configuration
from entrypoints.search.record import TrialRecord
from entrypoints.search.trial_end import TrialEnd
from entrypoints.settings import SHARED
from entrypoints.tags import BEST_TRIAL_RUN_ID, CONVERGED, DIVERGED, END, FEASIBLE, PLACE, REPEAT, STOP_HOW
from mlflow_sysmetrics.tags import BY_LIMITS, BY_PERSON, BY_TUNE, ERROR, KIND, OF_AN_END, STOP, STOPPED_BY, TRIAL_ID

_OF_AN_END = (*OF_AN_END, STOP, END, DIVERGED, CONVERGED, FEASIBLE)


@dataclass(frozen=True)
class Earlier:
    """What there is already.

    Attributes:
        done: the trials that need not be run again, in the order of the study's configurations.
        open_runs: the run that each other trial has already, by the id of its configuration.
        search_s: seconds in which at least one of the done trials ran.
    """

    done: tuple[TrialRecord, ...] = ()
    open_runs: Mapping[str, str] = field(default_factory=dict)
    search_s: float = 0.0

    @property
    def known(self) -> list[tuple[Configuration, Cost]]:
        """What the done trials tell the history of costs."""
        return [trial.known for trial in self.done if trial.end.expected is not None]

    def left(self, trials: Iterable[Configuration]) -> list[Configuration]:
        """Those of the study's configurations that have not been run."""
        done = {trial.configuration.id for trial in self.done}
        return [trial for trial in trials if trial.id not in done]


NOTHING = Earlier()


def children_of(client: MlflowClient, study: Run) -> list[Run]:
    """The runs below a study's."""
    return list(search_runs(client, study.info.experiment_id, f"tags.mlflow.parentRunId = '{study.info.run_id}'"))


def read(children: Iterable[Run], trials: Iterable[Configuration]) -> Earlier:
    """What the runs below a study's hold of its trials."""
    of_trials = [run for run in children if _is_trial(run)]
    of_trials.sort(key=lambda run: _status(run) is not None)  # of two runs of one trial the done one counts
    runs = {_key(run.data.params, int(run.data.tags.get(REPEAT, 0))): run for run in of_trials}
    done, open_runs, spans = [], {}, []
    for configuration in trials:
        run = runs.get(_key(configuration.searched, configuration.repeat))
        if run is None:
            continue
        run_id, tags, status = run.info.run_id, run.data.tags, _status(run)
        if status is None:
            open_runs[configuration.id] = run_id
            continue
        if TrialEnd.read(tags):  # a command that was killed may have said since that it ended the trial
            tags = {name: value for name, value in tags.items() if name != STOPPED_BY}
            tags |= {STOPPED_BY: BY_LIMITS} if STOP_HOW in tags else {}
        configuration = replace(configuration, place=int(tags.get(PLACE, configuration.place)))
        done.append(TrialRecord(tags.get(TRIAL_ID, run_id), configuration, status, figures_of(run), tags, run_id))
        ended_s = (run.info.end_time or run.info.start_time) / 1000
        spans.append((ended_s - run.data.metrics.get("elapsed_s", 0.0), ended_s))
    return Earlier(tuple(done), open_runs, _covered_s(spans))


def settle(client: MlflowClient, study: Run, children: Iterable[Run]) -> None:
    """Correct the status of every run of a study that no process works on, and remove the tags of an earlier end."""
    for run in children:
        if _is_trial(run) and not run.data.params:
            client.delete_run(run.info.run_id)  # created just before the command was killed: its trial is unknown
            continue
        before, status = run.info.status, _status(run)
        now = status or ("KILLED" if before == "RUNNING" else before)
        if now != before:
            client.set_terminated(run.info.run_id, now)
        if _is_trial(run) and status is None:
            _forget(client, run, _OF_AN_END)
    _forget(client, study, (ERROR, BEST_TRIAL_RUN_ID, STOP, STOPPED_BY))


def _is_trial(run: Run) -> bool:
    return bool(run.data.tags.get(KIND) == "trial")


def _status(run: Run) -> str | None:
    """The status of a trial that ended by itself, or was ended by its limits, a scheduler or a person; else None.

    A trial writes its figures and the tags of its end last; the status of its run may be missing.
    """
    tags = run.data.tags
    if TrialEnd.read(tags) and "elapsed_s" in run.data.metrics:
        return "KILLED" if STOP_HOW in tags else "FINISHED"
    return "KILLED" if run.info.status == "KILLED" and tags.get(STOPPED_BY) in (BY_TUNE, BY_PERSON) else None


def _key(params: Mapping[str, Any], repeat: int) -> Hashable:
    """What tells a trial from the others of its study: the texts of its values, as its run has them."""
    return repeat, frozenset((name, str(value)) for name, value in params.items() if name not in SHARED)


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
