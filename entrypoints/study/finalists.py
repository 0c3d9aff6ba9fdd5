"""Finalists: configurations that may become the result, refitted and served in the order of the study's choice.

The first whose model meets all limits on served models is the result; of a study without such limits the first.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace

from mlflow.entities import Metric
from sklearn.dummy import DummyClassifier, DummyRegressor

from entrypoints.compute.environment import users_own
from entrypoints.errors import UserError, say
from entrypoints.limits.costs import of_served
from entrypoints.models import best_model
from entrypoints.models.best_model import BestModel
from entrypoints.reporting.questions.decision import decide
from entrypoints.statistics import Estimate
from entrypoints.study.study import Study
from entrypoints.trials.trial import Trial
from mlflow_gate.served import Judgement, ServedCosts, ServedError, judged, served_costs
from mlflow_sysmetrics.delivery import now_ms

MAX_FINALISTS = 5
_SECONDS = 5.0  # of requests, where no limit is judged by them
_MEMORY_NOISE, _NOISE = 0.01, 0.2  # as shares: what a second measurement of the same model may differ by, at most
_OF_CONSTANT = "a model that ignores all features"


def check_limits(study: Study) -> None:
    """Check that a model can meet the limits on served ones: before a search, which takes longer.

    Raises:
        UserError: the cheapest of all models breaks one by more than noise, or cannot be served.
    """
    limits = of_served(study.limits)
    say(f"Serving {_OF_CONSTANT}, to see whether any can meet {limits}")
    try:
        costs = _served(study, _constant(study))
    except ServedError as error:
        raise UserError(f"limits={limits}: no model can be served here ({error}); leave these limits out") from None
    if costs.cannot_keep_up and not costs.contention.is_busy:
        how = f"of {_OF_CONSTANT} {costs.cannot_keep_up}"
        raise UserError(f"rate={study.settings.rate:g}: no model can keep up, since {how}; lower the rate")
    for limit in limits.rules:
        noise = _MEMORY_NOISE if limit.metric.name == "served_memory_mb" else _NOISE
        stop = limit.broken(costs.trusted, slack=noise * limit.number)
        if stop:
            raise UserError(
                f"limits={limits}: no model can meet {limit}, since {_OF_CONSTANT} has {stop}; loosen this limit"
            )


def choose(study: Study) -> None:
    """Decide on the result: that of the first finalist that is known to meet the limits on served models.

    If none is, that of the first of which it is not known. There is no result where all five break a limit. Where the
    machine is too busy to judge one, no other is served. Trials are told what their models cost as served.
    """
    limits = of_served(study.limits)
    judgements: dict[str, Judgement] = {}
    study.decision = decide(study.frame)
    for _ in range(MAX_FINALISTS if limits.rules else int(study.settings.served)):
        trial = study.best
        if trial is None:
            break
        if not limits.rules:  # it is the result: whoever ends the study while it is served has it
            model, shared = refitted(study, trial), study.settings.shared
            study.logged = best_model.log(study.run, model, study.table, trial.figures, shared)
        judgement, is_busy = _try(study, trial)
        judgements[trial.trial_id] = judgement
        study.is_within[trial.trial_id] = not any(judgement)
        study.decision = decide(study.frame)
        if study.is_within[trial.trial_id]:
            break
        if is_busy and not judgement.broken:
            say("  No other finalist is served: while the machine is busy, it could not be judged either")
            break
    able = [trial_id for trial_id, judgement in judgements.items() if not judgement.broken]
    for trial_id in able:
        if not study.is_within[trial_id]:
            del study.is_within[trial_id]  # it is not known
    study.decision = decide(study.frame)
    if study.best is None or not judgements:
        return
    if not able:
        study.decision = replace(study.decision, best=None, cheapest=None)
    elif study.best.trial_id in judgements:
        study.not_judged = judgements[study.best.trial_id].unknown


def refitted(study: Study, trial: Trial) -> BestModel:
    """The model of a trial's configuration, scored on the test part and trained again on all rows."""
    if trial.trial_id not in study.models:
        study.models[trial.trial_id] = best_model.refit(trial.configuration, study.data)
    return study.models[trial.trial_id]


def _try(study: Study, trial: Trial) -> tuple[Judgement, bool]:
    """Refit, serve and judge a configuration, and say whether the machine was busy; the trial has the figures, too."""
    limits = of_served(study.limits)
    model = refitted(study, trial)
    chosen = ", ".join(f"{name}={value}" for name, value in trial.configuration.searched.items())
    say(f"Serving {chosen}")
    is_busy = False
    try:
        costs = _served(study, model)
    except ServedError as error:
        say(f"Warning: what it costs as served is not known: {error}")
        judgement = Judgement([], [f"{limit} cannot be judged: {error}" for limit in limits.rules])
    else:
        judgement = judged(limits.rules, costs)
        is_busy = costs.contention.is_busy
        if costs.cannot_keep_up:
            say(f"  It cannot keep up: {costs.cannot_keep_up}")
        _tell(study, trial, costs)
        study.models[trial.trial_id] = replace(model, figures=model.figures | costs.trusted)
        if study.logged is not None:
            study.logged = best_model.with_figures(study.logged, costs.trusted)
    for sentence in [*judgement.broken, *judgement.unknown]:
        say(f"  {sentence}")
    return judgement, is_busy


def _tell(study: Study, trial: Trial, costs: ServedCosts) -> None:
    trial.figures = trial.figures | costs.trusted
    now = now_ms()
    points = [Metric(name, value, now, 0) for name, value in costs.trusted.items()]
    if trial.run_id:
        study.run.client.log_batch(trial.run_id, metrics=points)


def _served(study: Study, model: BestModel) -> ServedCosts:
    """What a model costs as served, by a server that sees the user's environment."""
    seconds = None if of_served(study.limits).rules else _SECONDS
    with tempfile.TemporaryDirectory(prefix="finalist-", ignore_cleanup_errors=True) as folder:
        best_model.save(model, study.table, folder)
        try:
            with users_own():
                return served_costs(folder, max_seconds=seconds, rate=study.settings.rate)
        except ServedError as error:
            raise ServedError(str(error).replace(folder, "the model")) from None


def _constant(study: Study) -> BestModel:
    """A model that ignores all features, in the form of all others."""
    data, train = study.data, study.split.train
    estimator = DummyClassifier() if data.n_classes else DummyRegressor()
    preprocessing = data.fit_preprocessing(train)
    y = data.y[train]
    estimator.fit(data.X[train], y if data.n_classes else preprocessing.scaling.transform_target(y))
    return BestModel(estimator, preprocessing, study.score.validated, {}, {}, Estimate(math.nan))
