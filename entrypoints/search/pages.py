"""The pages of a study in the UI, made from what came of it, and the words around their links."""

from __future__ import annotations

from collections.abc import Mapping

from entrypoints import views
from entrypoints.models.configuration import Configuration
from entrypoints.runs import RecordedRun
from entrypoints.search.record import Record
from mlflow_sysmetrics.ui import save

SAID = {
    views.SCORE: "score against cost",
    views.TABLE: "table",
    views.TRAINING: "during training",
    views.LIMITS: "who met the limits",
    views.STOPPED: "what was stopped, and why",
    views.STUDIES: "all studies",
}


def save_pages(run: RecordedRun, name: str, record: Record, trials: list[Configuration]) -> dict[str, str]:
    """Save the pages of a study and of its experiment, and return their links by the names in ``views``.

    Args:
        run: the study's.
        name: of its dataset.
        record: of its trials.
        trials: what it searches.
    """
    limits: dict[str, list[str]] = {}
    for rule in record.criteria.rules:
        limits.setdefault(rule.metric.name, []).append(str(rule))
    values: dict[str, set[str]] = {}
    for trial in trials:
        for hyperparameter, value in trial.searched.items():
            values.setdefault(hyperparameter, set()).add(str(value))
    varied = [hyperparameter for hyperparameter, tried in values.items() if len(tried) > 1]
    shown = views.StudyFacts(
        run_id=run.run_id,
        name=name,
        start=run.start,
        score=record.score,
        ascending=record.task == "regression",
        searched=tuple(varied or values),
        # A trial that something else than its limits ended has the score of where it was.
        figures=tuple(
            trial.figures for trial in record.trials.values() if not trial.diverged and not trial.ended_from_outside
        ),
        limits={metric: ", ".join(rules) for metric, rules in limits.items()},
    )
    links = save(run.client, run.experiment_id, run.run_id, views.of_study(shown))
    return links | save(run.client, run.experiment_id, views.EXPERIMENT, views.of_experiment())


def in_markdown(links: Mapping[str, str]) -> str:
    """The links of a study in one line."""
    return " · ".join(f"[{said}]({links[word]})" for word, said in SAID.items() if word in links)
