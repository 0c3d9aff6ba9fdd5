"""Records of trials as a search keeps them, and the runs that these trials leave."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from reference import configured

from entrypoints.limits.costs import metrics
from entrypoints.limits.stop_or_skip import EarlyEnd, How
from entrypoints.models.configuration import Configuration
from entrypoints.progress import Progress
from entrypoints.search.record import Record, TrialRecord
from entrypoints.search.trial_end import TrialEnd
from entrypoints.tags import CONVERGED, DIVERGED, PLACE, REPEAT
from mlflow_sysmetrics.limits import Criteria, Stop, Values
from mlflow_sysmetrics.tags import KIND, STOPPED_BY, TRIAL_ID


def ended_by(criterion: str, how: How = "crossed", value: float = 9.0, limit: float = 1.0) -> EarlyEnd:
    """That a limit ended a trial."""
    return EarlyEnd(Stop(criterion, criterion.partition("<")[0], value, limit, 100), how)


def trial(
    place: int,
    score: float | None = 0.7,
    configuration: Configuration | None = None,
    *,
    ending: EarlyEnd | None = None,
    by: str | None = None,
    folds: Sequence[dict[str, float]] = (),
    expected: Values | None = None,
    diverged: bool = False,
    converged: bool = False,
    **values: Any,
) -> TrialRecord:
    """A trial of this place, which ran to its end unless the values say otherwise; its time is its place in seconds.

    ``ending`` is why its limits ended it, ``by`` who else did.
    """
    tags = {DIVERGED: str(diverged).lower(), CONVERGED: str(converged).lower(), **values.pop("tags", {})}
    tags |= (ending.tags if ending else {}) | ({STOPPED_BY: by} if by else {})
    tags |= TrialEnd(list(folds), expected).tags
    values["status"] = values.get("status", "KILLED" if ending or by else "FINISHED")
    figures = {"training_time_s": float(place), "elapsed_s": 2.0 * place, "cpu_seconds": float(place)}
    figures |= {} if score is None else {"val_rmse": score}
    figures = values.pop("figures", figures)
    made = replace(configuration or configured(batch_size=2**place), place=place)
    return TrialRecord(f"t{place}", made, **{"figures": figures, "tags": tags, "run_id": f"r{place}"} | values)


def recorded(
    trials: Sequence[TrialRecord], criteria: str = "", *, planned: int = 0, task: Any = "regression"
) -> Record:
    """What a search has recorded of these trials."""
    parsed = Criteria.parse(criteria, metrics(task)) if criteria else None
    progress = Progress(planned or len(trials), "val_rmse", io.StringIO())
    record = Record(task, progress, parsed, trials)
    record.first_start, record.last_end = 1000.0, 1042.5
    return record


def store(client: MlflowClient, study: str, each: TrialRecord, name: str, **tags: str) -> None:
    """Write the run of a trial as a search leaves it, and note its id."""
    searched = each.configuration.searched | {"folds": 3, "seed": 0}
    about = {KIND: "trial", "mlflow.parentRunId": study, TRIAL_ID: each.trial_id, PLACE: str(each.configuration.place)}
    about |= {REPEAT: str(each.configuration.repeat)} if each.configuration.repeat else {}
    about |= {**each.tags, **tags}
    experiment_id = client.get_run(study).info.experiment_id
    run = client.create_run(experiment_id, run_name=name, start_time=each.configuration.place)
    points = [Metric(metric, value, 0, 0) for metric, value in each.figures.items()]
    params = [Param(param, str(value)) for param, value in searched.items()]
    client.log_batch(run.info.run_id, points, params, [RunTag(tag, value) for tag, value in about.items()])
    client.set_terminated(run.info.run_id, each.status)
    each.run_id = run.info.run_id
