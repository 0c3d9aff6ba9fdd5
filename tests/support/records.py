"""Studies without a search: settings, trials as a search keeps them, and the runs of both in a real store."""

import io
import itertools
import json
import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import click
from mlflow.entities import Metric, Param, RunTag
from reference import bundled, configured, table_of

from entrypoints.frame import frame_of
from entrypoints.limits.costs import metrics
from entrypoints.limits.grammar import Limits
from entrypoints.models import scores
from entrypoints.models.trial_record import Trial, end_tags
from entrypoints.progress import Progress
from entrypoints.reading import rows_of
from entrypoints.search.defaults import resolved
from entrypoints.search.recorder import Recorder
from entrypoints.search.study import Study
from entrypoints.settings import StudySettings, tune_options
from entrypoints.tags import BY_TIME_LIMIT, DIVERGED, NUMBER, REPEAT, STOP_HOW
from mlflow_sysmetrics.limits import Stop
from mlflow_sysmetrics.tags import BY_PERSON, KIND, STOPPED_BY, TRIAL_ID


def parsed(*arguments, options=tune_options):
    """What a command with these options is called with. Raises what the command raises."""

    @click.command()
    @options
    def command(**values): ...

    return command.make_context("command", list(arguments)).params


def study_settings(*arguments, **changes):
    """The settings of a command with these arguments, but for these changes; of `auto` what it is of red_wine."""
    options = parsed(*arguments) | changes
    del options["resume"]
    settings = StudySettings(**options)
    usual = resolved(replace(settings, dataset="red_wine"), "regression")
    return replace(usual, dataset=settings.dataset)


class RunningRay(nullcontext[None]):
    """The backend of a plan whose trials run in the Ray of the tests, which goes on."""

    is_here = True
    max_concurrent = 0

    def join(self, modules, store_uri):
        """There is nothing to check."""

    def cores(self):
        """As many as the tests start it with."""
        return 1


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


def ended_by(rule, how="crossed", value=9.0, limit=1.0):
    """The tags that say that a limit ended a trial."""
    return {**Stop(rule, rule.partition("<")[0], value, limit, 100).outcome().tags, STOP_HOW: how}


def trial(
    number,
    score=0.7,
    configuration=None,
    *,
    ending=None,
    by=None,
    folds=(),
    expected=None,
    diverged=False,
    **values,
):
    """A trial of this number, which ran to its end unless the values say otherwise; its time is its number in seconds.

    ``ending`` is why its limits ended it, ``by`` who else did.
    """
    tags = {DIVERGED: str(diverged).lower(), **values.pop("tags", {})}
    tags |= {**(ending or {})} | ({STOPPED_BY: by} if by else {})
    tags |= end_tags(list(folds), expected)
    values["status"] = values.get("status", "KILLED" if ending or by else "FINISHED")
    figures = {"training_time_s": float(number), "elapsed_s": 2.0 * number, "cpu_seconds": float(number)}
    figures |= {} if score is None else {"val_rmse": score}
    figures = values.pop("figures", figures)
    made = replace(configuration or configured(batch_size=2**number), number=number)
    return Trial(f"t{number}", made, **{"figures": figures, "tags": tags, "run_id": f"r{number}"} | values)


TIME = "training_time_s<=2"
BY_TIME = ended_by(TIME)


def of_every_end():
    """Two trials that can be chosen, with three folds around their scores, and one of each kind that cannot."""
    folds = [[{"fold": fold, "val_rmse": score + (fold - 1) / 100} for fold in range(3)] for score in (0.6, 0.65)]
    return [
        trial(1, 0.6, folds=folds[0]),
        trial(2, 0.65, folds=folds[1]),
        trial(3, None, ending=BY_TIME),
        trial(4, None, figures={"elapsed_s": 0.0}, ending=ended_by(TIME, "skipped")),
        trial(5, by=BY_PERSON),
        trial(6, by=BY_PERSON),
        trial(7, by=BY_TIME_LIMIT),
        trial(8, 0.1, diverged=True),
        trial(9, 0.1, diverged=True, configuration=configured(batch_size=256)),
        trial(10, None, figures={}, status="FAILED", error="ValueError: odd"),
    ]


def limits_of(text, dataset="red_wine"):
    """Limits on the costs and the score of trials on a dataset; none without a text."""
    score = scores.find(None, table_of(dataset).task)
    return Limits.parse(text, metrics(score.validated, score.higher_is_better)) if text else Limits(())


def study_of(
    trials=(),
    limits="",
    *,
    dataset="red_wine",
    settings=None,
    configurations=(),
    planned=0,
):
    """A study of these trials as its search leaves it, whose run no store has; more that are planned have not begun."""
    table, data = table_of(dataset), bundled(dataset)
    tried = [*configurations] or [each.configuration for each in trials] or [configured()]
    tried += [configured(batch_size=2**number) for number in range(50 + len(tried), 50 + planned)]
    unused = None
    study = Study(
        settings or study_settings(folds=3),
        limits_of(limits, dataset),
        table,
        data.split,
        tried,
        {},
        unused,
        scores.find(None, table.task),
        [1.0, 1.0, 1.0],
        trials={each.trial_id: each for each in trials},
    )
    study.data = data
    study.run = SimpleNamespace(run_id="study", experiment_id="0")
    study.forecasts = {each.id: 10.0 for each in tried}
    study.forecast_s = 50.0
    return study


def recorder_of(study, *, stream=None, begins=lambda: None):
    """What follows a search of eight trials."""
    return Recorder(study, Progress(8, study.score.validated, stream or io.StringIO()), begins)


def store(client, study, each, name="a trial", **tags):
    """Write the run of a trial into a stored study as a search leaves it, and note its id."""
    configuration = each.configuration
    about = {KIND: "trial", "mlflow.parentRunId": study, TRIAL_ID: each.trial_id, NUMBER: str(configuration.number)}
    about |= {REPEAT: str(configuration.repeat)} if configuration.repeat else {}
    points = {metric: {0: value} for metric, value in each.figures.items()}
    params = configuration.searched | {"folds": 3, "seed": 0}
    each.run_id = store_run(client, name, {**about, **each.tags, **tags}, params, points, each.status)
    return each.run_id
