"""The description of an experiment in the UI: its studies, the newest first, each with its result and its page."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from entrypoints import views
from entrypoints.links import run_view
from entrypoints.search.pages import SAID
from entrypoints.tags import NOTE_DIGEST
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.ui import MAX_STUDIES, saved_link

logger = get_logger(__name__)

NOTE = "mlflow.note.content"


def write_note(client: MlflowClient, experiment_id: str) -> None:
    """Write the description again, unless a user has written one or changed ours. What the store refuses is logged."""
    try:
        tags = client.get_experiment(experiment_id).tags
        present = tags.get(NOTE, "")
        if present and _digest(present) != tags.get(NOTE_DIGEST):
            return
        studies = client.search_runs(
            [experiment_id],
            f"tags.`{KIND}` = 'study'",
            max_results=MAX_STUDIES,
            order_by=["attributes.start_time DESC"],
        )
        text = note(experiment_id, list(studies), tags)
        client.set_experiment_tag(experiment_id, NOTE, text)
        client.set_experiment_tag(experiment_id, NOTE_DIGEST, _digest(text))
    except MlflowException as error:
        logger.warning("the description of experiment %s could not be written: %s", experiment_id, error)


def note(experiment_id: str, studies: list[Run], tags: Mapping[str, str]) -> str:
    """The description, for studies from the newest on and the experiment's tags. Its first line is seen folded.

    It has the links of the newest study's pages, so that each is one click away from any page of the experiment.
    """
    newest_id = studies[0].info.run_id
    pages = {SAID[word]: (newest_id, word) for word in (views.TABLE, views.TRAINING, views.LIMITS, views.STOPPED)}
    pages |= {"all studies": (views.EXPERIMENT, views.STUDIES), "reports": (views.EXPERIMENT, views.REPORTS)}
    charts = {SAID[views.TRAINING]}
    found = {
        said: saved_link(tags, experiment_id, owner, word, "CHART" if said in charts else "TABLE")
        for said, (owner, word) in pages.items()
    }
    links = [f"[{said}]({link})" for said, link in found.items() if link]
    newest, *older = [_line(each, tags) for each in studies]
    lines = [" · ".join([newest, *links])]
    return "\n".join(lines + (["", "Before:", *(f"- {line}" for line in older)] if older else []))


def _line(study: Run, tags: Mapping[str, str]) -> str:
    about, figures = study.info, study.data.metrics
    page = saved_link(tags, about.experiment_id, about.run_id, views.SCORE)
    page = page or run_view(about.experiment_id, about.run_id)
    when = time.strftime("%d %b %H:%M", time.localtime(about.start_time / 1000))
    score = next((name for name in figures if name.startswith("best_val_")), None)
    result = f"{score.removeprefix('best_')} {figures[score]:.4f}" if score else about.status.lower()
    met = f", {figures['feasible']:.0f} trials meet its limits" if "feasible" in figures else ""
    saved = f", {figures['saved_cpu_percent']:.0f} % of CPU saved" if "saved_cpu_percent" in figures else ""
    return f"[{about.run_name}, {when}]({page}): {result}{met}{saved}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
