"""The pages of a study in the UI, made from what came of it, and the words around their links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrypoints import views
from entrypoints.datasets.prepared import Prepared
from entrypoints.models.configuration import Configuration
from entrypoints.models.losses import score_name
from entrypoints.runs import RecordedRun
from entrypoints.search.full_study import searched_names
from entrypoints.search.record import Record, TrialRecord
from mlflow_sysmetrics.limits import Criteria
from mlflow_sysmetrics.ui import save

SAID = {
    views.SCORE: "score against cost",
    views.TABLE: "table",
    views.TRAINING: "during training",
    views.LIMITS: "who met the limits",
    views.STOPPED: "what was stopped, and why",
    views.STUDIES: "all studies",
}


def save_pages(
    run: RecordedRun, data: Prepared, record: Record, trials: Sequence[Configuration], criteria: Criteria | None
) -> dict[str, str]:
    """Save the pages of a study and of its experiment, and return their links by the names in ``views``."""
    limits: dict[str, str] = {}
    for rule in criteria.rules if criteria else ():
        name = rule.metric.name
        limits[name] = f"{limits[name]}, {rule}" if name in limits else str(rule)
    score = f"val_{score_name(data.task)}"
    shown = views.StudyFacts(
        run_id=run.run_id,
        name=data.name,
        start=run.start,
        score=score,
        ascending=data.task == "regression",
        searched=tuple(_varied(trials)),
        figures=tuple(trial.figures for trial in record.trials.values() if _is_drawn(trial)),
        limits=limits,
    )
    links = save(run.client, run.experiment_id, run.run_id, views.of_study(shown))
    return links | save(run.client, run.experiment_id, views.EXPERIMENT, views.of_experiment())


def in_markdown(links: Mapping[str, str]) -> str:
    """The links of a study in one line."""
    return " · ".join(f"[{said}]({links[word]})" for word, said in SAID.items() if word in links)


def _is_drawn(trial: TrialRecord) -> bool:
    """Whether the pages show it: one that something else than its limits ended has the score of where it was."""
    return not trial.diverged and not trial.ended_from_outside


def _varied(trials: Sequence[Configuration]) -> list[str]:
    """The hyperparameters in which trials differ; all of them where there is one trial."""
    names = searched_names(trials)
    return [name for name in names if len({str(trial.searched.get(name)) for trial in trials}) > 1] or names
