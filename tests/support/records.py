"""Trials as a search keeps them, the study of them, and the runs that these trials leave."""

import io
from dataclasses import replace
from types import SimpleNamespace

from reference import bundled, configured, table_of
from stored_studies import store_run
from study_settings import study_settings

from entrypoints.limits.costs import metrics
from entrypoints.limits.grammar import Limits
from entrypoints.models import scores
from entrypoints.models.trial_record import Trial, end_tags
from entrypoints.progress import Progress
from entrypoints.search.recorder import Recorder
from entrypoints.search.study import Study
from entrypoints.tags import BY_TIME_LIMIT, DIVERGED, NUMBER, REPEAT, STOP_HOW
from mlflow_sysmetrics.limits import Stop
from mlflow_sysmetrics.tags import BY_PERSON, KIND, STOPPED_BY, TRIAL_ID


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
    score = scores.find(None, table.task)
    parsed = Limits.parse(limits, metrics(score.validated, score.higher_is_better)) if limits else Limits(())
    tried = [*configurations] or [each.configuration for each in trials] or [configured()]
    tried += [configured(batch_size=2**number) for number in range(50 + len(tried), 50 + planned)]
    unused = None
    study = Study(
        settings or study_settings(folds=3),
        parsed,
        table,
        data.split,
        tried,
        {},
        unused,
        score,
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
    """Write the run of a trial into a study of ``stored_studies`` as a search leaves it, and note its id."""
    configuration = each.configuration
    about = {KIND: "trial", "mlflow.parentRunId": study, TRIAL_ID: each.trial_id, NUMBER: str(configuration.number)}
    about |= {REPEAT: str(configuration.repeat)} if configuration.repeat else {}
    points = {metric: {0: value} for metric, value in each.figures.items()}
    params = configuration.searched | {"folds": 3, "seed": 0}
    each.run_id = store_run(client, name, {**about, **each.tags, **tags}, params, points, each.status)
    return each.run_id
