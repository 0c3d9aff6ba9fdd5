"""The page of what any runs have cost: made from what they have logged."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from mlflow import MlflowClient
from mlflow.entities import Run

from mlflow_sysmetrics.delivery.points import SYSTEM_PREFIX
from mlflow_sysmetrics.delivery.recording import STEP_FIGURES
from mlflow_sysmetrics.measurement import CURVES, FIGURES
from mlflow_sysmetrics.ranks import COUNTS, JOB_FIGURES
from mlflow_sysmetrics.sampling.groups import NAMES
from mlflow_sysmetrics.tags import STOP_REASON
from mlflow_sysmetrics.views.page import Page, Section, bars, lines, metric, parallel, param, scatter, tag
from mlflow_sysmetrics.views.saved import save

_COSTS = (*FIGURES, *STEP_FIGURES, *JOB_FIGURES)
_SERIES = ("process_memory_mb", "process_cpu_percent", r"gpu_\d+_process_memory_mb", r"gpu_\d+_memory_mb")
OF_RUNS = "runs"  # whose view is that of all runs of an experiment
MAX_RUNS = 100  # runs that are read to see what there is: as many as the UI lists at once
_SIGNS = ("metrics.elapsed_s >= 0", f"metrics.`{SYSTEM_PREFIX}process_memory_mb` >= 0")  # at the end, and before it
_MAX_SHOWN = 6  # of the parameters, and of the metrics that are not ours, that a page shows
_RAYS = ("training_iteration", "time_total_s", "time_this_iter_s", "time_since_restore", "iterations_since_restore",
         "timestamp", "pid", "episodes_total", "timesteps_total", "timesteps_since_restore")  # fmt: skip


def save_costs(client: MlflowClient, experiment_id: str, name: str, wanted: str, owner: str) -> str | None:
    """Save the view of the runs that a search finds, and return its link; None if none of them has our figures.

    Args:
        client: of the store.
        experiment_id: where the runs are.
        name: of the view.
        wanted: which runs, a condition of MLflow's search.
        owner: as in ``saved.save``.

    Raises:
        mlflow.exceptions.MlflowException: the runs cannot be read.
    """
    runs = _measured(client, experiment_id, wanted)
    return save(client, experiment_id, owner, {"costs": of_runs(runs, name, wanted)})["costs"] if runs else None


def of_runs(runs: Sequence[Run], name: str, wanted: str) -> Page:
    """The page of these and of all others that the condition finds, as charts; the most expensive first.

    Sorted by a metric, children of a run stand beside it; by their start, the UI folds them under it.
    """
    measured = _names(runs)
    costs = [each for each in _COSTS if each in measured]
    series = _series(measured)
    own = [each for each in measured if not _is_ours(each, measured) and each not in _RAYS][:_MAX_SHOWN]
    params = _varied(runs)[:_MAX_SHOWN]
    compared = [each for each in ("elapsed_s", "peak_memory_mb") if each in costs]
    sections = [
        Section("Metrics against cost", [scatter(cost, each) for each in own[:2] for cost in compared]),
        Section(
            "Parameters, costs and metrics", [parallel(params, [*costs[:4], *own[:2]])] if params and costs else [], 1
        ),
        Section("Costs", [bars(each) for each in costs]),
        Section("During the run", [lines(each, against="time-relative") for each in series]),
    ]
    why = tag(STOP_REASON)
    columns = [*map(param, params), *map(metric, own), *map(metric, costs or series), why]
    return Page(
        name,
        wanted,
        sort_by=next(iter(costs or series), None),
        columns=columns,
        wide=[why],
        sections=[each for each in sections if each.cards],
    )


def _measured(client: MlflowClient, experiment_id: str, wanted: str) -> list[Run]:
    """The newest of the runs that have our figures or series, however many newer ones have none."""
    found: dict[str, Run] = {}
    for sign in (*_SIGNS, ""):  # at last those that have other figures or series alone
        condition = " and ".join(filter(None, (wanted, sign)))
        for run in client.search_runs([experiment_id], condition, max_results=MAX_RUNS):
            if run.data.metrics.keys() & set(FIGURES) or _series(run.data.metrics):
                found[run.info.run_id] = run
    return sorted(found.values(), key=lambda run: run.info.start_time, reverse=True)[:MAX_RUNS]


def _series(names: Iterable[str]) -> list[str]:
    """Those of the names that are drawn over time."""
    return [name for each in _SERIES for name in names if re.fullmatch(f"{SYSTEM_PREFIX}{each}", name)]


def _is_ours(name: str, measured: Collection[str]) -> bool:
    """Whether it is a series, a figure, or a count of trials, among all that the runs have.

    `system_metrics` puts series into a trial's results without their prefix. What has a figure's name below another
    (``phase/load/``, ``rank_0/``, a node) is one where ``elapsed_s`` stands beside it, as it does beside all of ours.
    """
    above, slash, last = name.rpartition("/")
    if name.startswith(SYSTEM_PREFIX) or NAMES.fullmatch(last.removesuffix("_max")):
        return True
    if slash:
        return last in _COSTS and f"{above}/elapsed_s" in measured
    return name in (*_COSTS, *CURVES) or (name in COUNTS and set(COUNTS) <= set(measured))


def _names(runs: Iterable[Run]) -> list[str]:
    """The metrics of the runs, each once."""
    return list(dict.fromkeys(name for run in runs for name in run.data.metrics))


def _varied(runs: Sequence[Run]) -> list[str]:
    """The parameters in which the runs differ; all of them where they do not."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for name, value in run.data.params.items():
            values.setdefault(name, set()).add(value)
    varied = [name for name, seen in values.items() if len(seen) > 1]
    return varied if varied or len(runs) > 1 else list(values)
