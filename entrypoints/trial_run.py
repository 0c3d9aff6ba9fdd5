"""The run of a trial, as a search that goes on and reports read it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow.entities import Run

from entrypoints.mlflow_io import figures_of
from entrypoints.tags import CONVERGED, DIVERGED, FEASIBLE, PLACE, REPEAT, STOP_HOW
from mlflow_sysmetrics.tags import HOST_PREFIX, STOP_METRIC, STOP_REASON, STOP_STEP, STOPPED_BY, TRIAL_ID


@dataclass(frozen=True)
class TrialRun:
    """What the run of a trial holds, be it of a study or of another Tune script. What it does not say is None.

    Attributes:
        trial_id: Tune's id of the trial; that of its run where it has none.
        began_ms: since 1970.
        ended_ms: since 1970.
        params: the text of each.
        figures: the last value of each metric outside ``system/``.
        host: each fact of its machine.
        place: in the order of the study, from 1 on.
        repeat: which repetition of its configuration it is; 0: its first run.
        stopped_by: who ended it early, one of ``tags.BY_...``.
        stop_how: crossed, predicted or skipped.
        stop_reason: in words.
        stop_metric: the figure that broke its limit.
        stop_step: where it did.
    """

    trial_id: str
    run_id: str
    name: str
    status: str
    began_ms: int | None
    ended_ms: int | None
    params: dict[str, str]
    figures: dict[str, float]
    host: Mapping[str, str]
    place: int | None
    repeat: int
    diverged: bool
    converged: bool
    feasible: bool | None
    stopped_by: str | None
    stop_how: str | None
    stop_reason: str | None
    stop_metric: str | None
    stop_step: int | None

    @classmethod
    def of(cls, run: Run) -> TrialRun:
        """The trial in this run."""
        tags = run.data.tags
        place, step = tags.get(PLACE), tags.get(STOP_STEP)
        return cls(
            trial_id=tags.get(TRIAL_ID) or run.info.run_id,
            run_id=run.info.run_id,
            name=run.info.run_name,
            status=run.info.status,
            began_ms=run.info.start_time,
            ended_ms=run.info.end_time,
            params=run.data.params,
            figures=figures_of(run),
            host={name.removeprefix(HOST_PREFIX): tags[name] for name in tags if name.startswith(HOST_PREFIX)},
            place=None if place is None else int(place),
            repeat=int(tags.get(REPEAT, 0)),
            diverged=tags.get(DIVERGED) == "true",
            converged=tags.get(CONVERGED) == "true",
            feasible={"true": True, "false": False}.get(tags.get(FEASIBLE, "")),
            stopped_by=tags.get(STOPPED_BY),
            stop_how=tags.get(STOP_HOW),
            stop_reason=tags.get(STOP_REASON),
            stop_metric=tags.get(STOP_METRIC),
            stop_step=None if step is None else int(step),
        )


def hosts(trials: Iterable[TrialRun]) -> dict[str, frozenset[str]]:
    """Where trials ran: the values that each fact of their machines has."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for fact, value in trial.host.items():
            values.setdefault(fact, set()).add(value)
    return {fact: frozenset(each) for fact, each in values.items()}
