"""What finished studies answer: one table for each part of the answer, or a sentence that says why there is none."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow import MlflowClient

from entrypoints.limits.noise import margins
from entrypoints.limits.pareto import front
from entrypoints.limits.stop_or_skip import Stopping
from entrypoints.reporting import hosts, statistics
from entrypoints.reporting.findings import FRONT_COSTS, Findings, records
from entrypoints.reporting.hyperparameters import cost_law, effects, tol_savings
from entrypoints.reporting.hyperparameters.interactions import interactions
from entrypoints.reporting.one_study.decision import decision
from entrypoints.reporting.savings import calibration, rules
from entrypoints.reporting.studies import Study
from entrypoints.reporting.training import curves, drift, memory_jumps
from entrypoints.settings import DEFAULT_CRITERIA

BEST = 5


def findings(client: MlflowClient, studies: Sequence[Study]) -> Findings:
    """Answer what these studies can answer.

    Args:
        client: of the store that holds them.
        studies: the one that all questions are about, then those with limits that it is compared with.
    """
    study, found = studies[0], Findings()
    found.add("trials", study.trials)
    found.add("best", study.complete.head(BEST) if study.score else [])
    _during_training(client, study, found)
    _hyperparameters(study, found)
    changed = {row["metric"] for row in found.rows("effects") if row["told"]}
    found.add("decision", decision(studies, changed) if study.score else [])
    _limits(client, studies, found)
    _compared(study, found)
    _pareto(study, found)
    return found


def _during_training(client: MlflowClient, study: Study, found: Findings) -> None:
    found.curves = curves.read(client, study)
    trends = drift.drift(found.curves, study.noises)
    found.add("drift", trends)
    found.add("drift_by_batch_size", drift.by_batch_size(found.curves, trends, study.noises))
    by_group, of_trials = memory_jumps.memory_jumps(found.curves)
    found.add("memory_jumps", by_group)
    found.add("memory_jumps_of_trials", of_trials)
    if "drift" not in found.tables:
        found.open_questions.append("How costs change during training: no trial has curves of at least four points.")


def _hyperparameters(study: Study, found: Findings) -> None:
    found.add("effects", effects.effects(study))
    found.add("interactions", interactions(study))
    found.add("step_times", cost_law.step_times(study))
    found.add("cost_law", cost_law.cost_law(study))
    found.add("tol_savings", tol_savings.tol_savings(study))
    if "effects" not in found.tables:
        found.open_questions.append(
            "What hyperparameters change: too few trials came to their end, or they do not differ in any."
        )


def _limits(client: MlflowClient, studies: Sequence[Study], found: Findings) -> None:
    """What limits save, from studies under them, or else from a replay of the default ones."""
    study, limited = studies[0], [each for each in studies if each.criteria]
    texts = [each.criteria or "" for each in limited] or [DEFAULT_CRITERIA]
    full = rules.full_of(client, study, limits=texts) if not study.criteria else None
    if full is None:
        found.open_questions.append(
            "What limits save: this needs a study without limits of the same dataset and settings, by tune."
            if study.criteria
            else "What limits save: these trials lack the times and scores that this needs."
        )
        return
    saved = rules.rules(client, full, study, limited)
    if not saved.rules:
        stopping = Stopping(full.criteria(DEFAULT_CRITERIA), predict=True)
        saved = rules.of_limits(full, stopping, study.run_id)
        found.open_questions.append(
            "What limits save in a real run: no study by early_stop has these trials, so the default limits were "
            f"replayed; run early_stop with dataset={study.dataset} and the parameters of this study."
        )
    else:
        found.open_questions += hosts.of_savings(study, limited)
    found.add("rules", saved.rules)
    found.add("savings_by_criterion", saved.by_criterion)
    found.add("predictions", calibration.predictions(full.courses, full.rows))
    found.add("calibration", calibration.calibration(found.rows("predictions")))
    found.add("tradeoff", rules.tradeoff(full, _limited_cost(limited, full)))


def _limited_cost(limited: Sequence[Study], full: rules.Full) -> str:
    """The first cost that a study under limits has limited and that can be predicted; else the training time."""
    for study in limited:
        for limit in full.criteria(study.criteria or "").limits:
            if limit.metric.name in rules.TIMES:
                return str(limit.metric.name)
    return "training_time_s"


def _compared(study: Study, found: Findings) -> None:
    """Which of the best configurations differ, on folds that did not choose them."""
    if study.folds.empty or study.score is None:
        found.open_questions.append("Configurations that differ significantly: the study has no score for each fold.")
        return
    try:
        _, scores = statistics.chosen(study.folds, study.score, study.higher_is_better)
        folds = study.folds["fold"].nunique()
        found.add("pairs", statistics.pairs(scores, study.higher_is_better, 1 / (folds - 1)))
    except statistics.NotTestableError as reason:
        found.open_questions.append(f"Configurations that differ significantly: {reason}")


def _pareto(study: Study, found: Findings) -> None:
    if study.score:
        costs = [cost for cost in FRONT_COSTS if cost in study.figures]
        sign = -1.0 if study.higher_is_better else 1.0
        rows = records(study.complete)
        known = margins(study.noises.values()) if study.noises else {}
        found.add("pareto", front(rows, study.score, costs, study.hyperparameters, sign=sign, margins=known))
