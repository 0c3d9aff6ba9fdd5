"""Finished studies written into a real store, each later than the one before it."""

import itertools
import json
import time

from mlflow.entities import Metric, Param, RunTag

from entrypoints.frame import frame_of
from entrypoints.reading import rows_of

_later = itertools.count(int(time.time() * 1000))
SCORE = {"score": "val_rmse", "higher_is_better": False, "baseline": None, "planned": 1}
SEARCHED = ["batch_size", "learning_rate", "alpha"]
OF_ALL = {"sysmetrics.score": json.dumps(SCORE), "sysmetrics.searched": json.dumps(SEARCHED)}
FULL = {**OF_ALL, "sysmetrics.dataset": "red_wine", "sysmetrics.study_key": "k"}
LIMITED = {**FULL, "sysmetrics.limits": "elapsed_s<=9"}


def experiment_id(client):
    """Where the studies are: the experiment of the fixture ``client``, or MLflow's default one."""
    experiment = client.get_experiment_by_name("studies")
    return str(experiment.experiment_id) if experiment else "0"


def read(client, runs, **asked):
    """The studies in these runs as one frame. Arguments and errors as of ``rows_of``."""
    return frame_of([rows_of(client, run, **asked) for run in runs])


def store_run(
    client,
    name,
    tags,
    params,
    points,
    status,
):
    """A run that began after the one before it."""
    run = client.create_run(experiment_id(client), start_time=next(_later), run_name=name)
    metrics = [Metric(metric, value, 0, step) for metric, curve in points.items() for step, value in curve.items()]
    texts = [Param(param, str(value)) for param, value in params.items()]
    client.log_batch(run.info.run_id, metrics, texts, [RunTag(tag, value) for tag, value in tags.items()])
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


def store_study(
    client,
    name="tune red_wine",
    trials=1,
    *,
    kind="study",
    tags=FULL,
    status="FINISHED",
    **params,
):
    """The run of a study with this number of equal trials."""
    own = {"sysmetrics.kind": kind} if kind else {}
    run_id = store_run(client, name, own | tags, params, {}, status)
    for _ in range(trials):
        store_trial(client, run_id)
    return run_id


def store_trial(
    client,
    study,
    params=None,
    points=None,
    *,
    status="FINISHED",
    name="a trial",
    **tags,
):
    """The run of one of its trials, as the callback leaves it. ``tags`` are those of sysmetrics."""
    own = {f"sysmetrics.{tag}": value for tag, value in ({"kind": "trial", "trial_id": "t"} | tags).items()}
    chosen = {"dataset": "red_wine", "folds": 3} if params is None else params
    curves = {"val_rmse": {100: 0.7}} if points is None else points
    return store_run(client, name, {"mlflow.parentRunId": study, **own}, chosen, curves, status)


def store_scores(client, study, *scores, metric="val_rmse", **tags):
    """A trial for each score."""
    for score in scores:
        store_trial(client, study, points={metric: {100: score}}, **tags)
