"""Full studies, of several datasets or several of one, made up and written straight into a store, as by `tune`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from entrypoints.limits.noise import Noise
from entrypoints.mlflow_io import log_tables

Figures = Mapping[str, float | Mapping[int, float]]  # by name; of a curve its values by step
Trial = tuple[Mapping[str, Any], Figures]  # what it chose, and what it left
SETTINGS = {"algorithm": "linear", "batch_size": 32, "seed": 0, "max_steps": 600, "max_epochs": 0, "report_every": 100}


def write_study(
    client: MlflowClient,
    dataset: str,
    trials: Iterable[Trial],
    *,
    host: str = "one",
    params: Mapping[str, Any] | None = None,
    noises: Iterable[Noise] = (),
    tags: Mapping[str, str] | None = None,
) -> str:
    """Write one study, and return the id of its run.

    Args:
        client: of the store; the runs go into its default experiment.
        dataset: its name.
        trials: in the order in which they began.
        host: the processor of the machine that its trials ran on.
        params: which all trials share, beside ``SETTINGS``.
        noises: what `noise.json` says.
        tags: further ones of the study's run.
    """
    prepare = _run(client, "prepare", {"kind": "prepare"}, {"folds": 10}, {"train_rows": 1000, "features": 8})
    own = {"kind": "study", "dataset": dataset, "prepare_run_id": prepare}
    study = _run(client, f"tune {dataset}", own | dict(tags or {}), {}, {})
    if rows := [each.row for each in noises]:
        log_tables(client, study, {"noise.json": rows})
    for place, (chosen, figures) in enumerate(trials):
        name = " ".join(f"{key}={value}" for key, value in chosen.items())
        own = {"kind": "trial", "trial_id": str(place), "host_cpu_model": host, "diverged": "false"}
        _run(client, name, own, {"dataset": dataset, **SETTINGS, **(params or {}), **chosen}, figures, parent=study)
    return study


def _run(
    client: MlflowClient,
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    figures: Figures,
    parent: str | None = None,
) -> str:
    all_tags = {f"sysmetrics.{tag}": value for tag, value in tags.items()}
    run = client.create_run("0", run_name=name, tags=all_tags | ({"mlflow.parentRunId": parent} if parent else {}))
    curves = {key: of if isinstance(of, Mapping) else {0: of} for key, of in figures.items()}
    metrics = [Metric(key, float(value), 0, step) for key, curve in curves.items() for step, value in curve.items()]
    client.log_batch(
        run.info.run_id, metrics, [Param(key, str(value)) for key, value in params.items()], list[RunTag]()
    )
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)
