"""Studies without a search: settings, trials as a search keeps them, and the runs of both in a real store."""

import io
import itertools
import json
import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import click
from mlflow.entities import Metric, Param
from reference import bundled, configured, table_of

from entrypoints.limits.costs import parse_limits
from entrypoints.models import scores
from entrypoints.models.algorithms import find_all
from entrypoints.options.settings import StudySettings, tune_options
from entrypoints.runs.tags import AXIS, BY_TIME_LIMIT, DIVERGED, NUMBER, STOP_HOW
from entrypoints.search.defaults import resolved
from entrypoints.study.progress import Progress
from entrypoints.study.recorder import Recorder
from entrypoints.study.study import Study
from entrypoints.trials.frame import frame_of
from entrypoints.trials.reading import rows_of
from entrypoints.trials.trial import Trial, end_tags
from mlflow_sysmetrics.limits import Stop
from mlflow_sysmetrics.recording.tags import BY_PERSON, KIND, STOPPED_BY, TRIAL_ID


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


class RunningRay(nullcontext):
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
OF_ALL = {
    "sysmetrics.score": json.dumps(SCORE),
    "sysmetrics.searched": '["batch_size", "learning_rate", "alpha"]',
}
FULL = OF_ALL | {"sysmetrics.dataset": "red_wine", "sysmetrics.study_key": "k"}
LIMITED = FULL | {"sysmetrics.limits": "elapsed_s<=9"}
# Of a trial that nothing is said about.
PARAMS = {"dataset": "red_wine", "folds": 3}
POINTS = {"val_rmse": {100: 0.7}}


def experiment_id(client):
    """Where the studies are: the experiment of the fixture ``client``, or MLflow's default one."""
    experiment = client.get_experiment_by_name("studies")
    return str(experiment.experiment_id) if experiment else "0"


def read(client, runs, **asked):
    """The studies in these runs as one frame. Arguments and errors as of ``rows_of``."""
    return frame_of([rows_of(client, run, **asked) for run in runs])


def store_run(client, name, tags, params, points, status):
    """A run that began after the one before it."""
    run = client.create_run(experiment_id(client), next(_later), tags, name)
    metrics = [Metric(metric, value, 0, step) for metric, curve in points.items() for step, value in curve.items()]
    client.log_batch(run.info.run_id, metrics, [Param(param, str(value)) for param, value in params.items()])
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return run.info.run_id


def store_study(client, name="tune red_wine", trials=1, *, kind="study", tags=FULL, status="FINISHED", **params):
    """The run of a study with this number of equal trials."""
    run_id = store_run(client, name, {KIND: kind} | tags, params, {}, status)
    for _ in range(trials):
        store_trial(client, run_id)
    return run_id


def store_trial(client, study, params=PARAMS, points=POINTS, *, status="FINISHED", **tags):
    """The run of one of its trials, as the callback leaves it. ``tags`` are those of sysmetrics."""
    tags = {"kind": "trial", "trial_id": "t", "axis": "training step"} | tags
    own = {f"sysmetrics.{name}": tag for name, tag in tags.items()}
    return store_run(client, "a trial", {"mlflow.parentRunId": study} | own, params, points, status)


def ended_by(rule):
    """The tags that say that a limit ended a trial."""
    stop = Stop(rule, rule.partition("<")[0], 9.0, 1.0, 100)
    return stop.outcome().tags | {STOP_HOW: "crossed"}


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
    figures=None,
    tags=None,
    status=None,
    error=None,
):
    """A trial of this number, which ran to its end unless the values say otherwise; its time is its number in seconds.

    ``ending`` is why its limits ended it, ``by`` who else did.
    """
    ended = {STOPPED_BY: by} if by else ending
    known = {DIVERGED: str(diverged).lower()}
    for more in (tags, ended, end_tags(list(folds), expected)):
        known |= more or {}
    if figures is None:
        figures = {"training_time_s": float(number), "elapsed_s": 2.0 * number, "cpu_seconds": float(number)}
        if score is not None:
            figures["val_rmse"] = score
    status = status or ("KILLED" if ended else "FINISHED")
    made = replace(configuration or configured(batch_size=2**number), number=number)
    return Trial(f"t{number}", made, status, figures, known, f"r{number}", error)


TIME = "training_time_s<=2"
BY_TIME = ended_by(TIME)


def of_every_end():
    """Two trials that can be chosen, with three folds around their scores, and one of each kind that cannot."""
    folds = [[{"fold": fold, "val_rmse": score + (fold - 1) / 100} for fold in range(3)] for score in (0.6, 0.65)]
    return [
        trial(1, 0.6, folds=folds[0]),
        trial(2, 0.65, folds=folds[1]),
        trial(3, None, ending=BY_TIME),
        trial(4, None, figures={"elapsed_s": 0.0}, ending=BY_TIME),
        trial(5, by=BY_PERSON),
        trial(6, by=BY_PERSON),
        trial(7, by=BY_TIME_LIMIT),
        trial(8, 0.1, diverged=True),
        trial(9, 0.1, diverged=True, configuration=configured(batch_size=256)),
        trial(10, None, figures={}, status="FAILED", error="ValueError: odd"),
    ]


def limits_of(text, dataset="red_wine"):
    """Limits on the costs and the score of trials on a dataset; none without a text."""
    return parse_limits(text or None, scores.find(None, table_of(dataset).task))


def spaces_around(configurations):
    """Spaces of the algorithms of some configurations, of which each value is one of theirs."""
    spaces = {}
    for each in configurations:
        space = spaces.setdefault(each.algorithm, {})
        for name, value in each.searched.items():
            values = space.setdefault(name, [])
            if value not in values:
                values.append(value)
    return list(spaces.values())


def study_of(trials=(), limits="", *, dataset="red_wine", settings=None, configurations=(), spaces=(), planned=0):
    """A study of these trials as its search leaves it, whose run no store has; more that are planned have not begun."""
    table, data = table_of(dataset), bundled(dataset)
    tried = [*configurations] or [each.configuration for each in trials]
    if not (tried or spaces):
        tried = [configured()]
    tried += [configured(batch_size=2**number) for number in range(50 + len(tried), 50 + planned)]
    spaces = spaces or spaces_around(tried)
    study = Study(
        settings or study_settings(folds=3),
        limits_of(limits, dataset),
        table,
        data.split,
        find_all(table.task, ",".join(space["algorithm"][0] for space in spaces)),
        spaces,
        first=[each.searched for each in tried],
        folders=(),
        references={},
        backend=None,
        score=scores.find(None, table.task),
        baseline=[1.0, 1.0, 1.0],
        trials={each.trial_id: each for each in trials},
        forecasts={each.id: 10.0 for each in tried},
        forecast_s=50.0,
    )
    study.data = data
    study.configurations = tried
    study.run = SimpleNamespace(run_id="study", experiment_id="0")
    return study


def recorder_of(study, *, stream=None, begins=None):
    """What follows a search of eight trials."""
    progress = Progress(8, study.score.validated, stream or io.StringIO())
    return Recorder(study, progress, begins or progress.begin)


def store(client, study, each, name="a trial", **tags):
    """Write the run of a trial into a stored study as a search leaves it, and note its id."""
    made = each.configuration
    about = {KIND: "trial", "mlflow.parentRunId": study, TRIAL_ID: each.trial_id, NUMBER: str(made.number)}
    about[AXIS] = made.axis
    points = {metric: {0: value} for metric, value in each.figures.items()}
    params = made.searched | {"folds": 3, "seed": 0}
    each.run_id = store_run(client, name, about | each.tags | tags, params, points, each.status)
    return each.run_id
