"""The pages of a study in the MLflow UI: there from its start, and made again as its trials have turned out."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click
import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from entrypoints.reporting import expectation, views
from entrypoints.reporting.questions import limits_applied
from entrypoints.reporting.questions.decision import differing_costs
from entrypoints.reporting.words import digits
from entrypoints.runs.links import how_to_open, run_view
from entrypoints.search.run_names import searched, varied
from entrypoints.study.study import Study
from entrypoints.trials.frame import Frame
from mlflow_sysmetrics.ui import save

if TYPE_CHECKING:
    from entrypoints.models.best_model import LoggedModel

_COSTS = ("refit_", "served_")  # what figures of a logged model begin with that are costs
MAX_STUDIES = 10  # whose views are kept, the newest
_OF_A_STUDY = re.compile(r"mlflow\.sharedViewState\.sysmetrics-([0-9a-f]{32})-")


def save_pages(study: Study, frame: Frame) -> dict[str, str]:
    """Save the pages of a study and of its experiment in the UI, and return their links by the names in ``views``."""
    run = study.run
    names = frame.hyperparameters or varied(study.spaces) or searched(study.spaces)
    axes = {algorithm.axis for algorithm in study.algorithms}
    pages = views.of_study(frame, run.start, names, study.limits, axes, differing_costs(frame))
    links = save(run.client, run.experiment_id, run.run_id, pages)
    links |= save(run.client, run.experiment_id, views.EXPERIMENT, views.of_experiment(study.score.validated))
    with contextlib.suppress(MlflowException):  # old views are not worth a study
        remove_old(run.client, run.experiment_id)
    return links


def remove_old(client: MlflowClient, experiment_id: str) -> None:
    """Remove the views of all but the newest studies; those that a user has changed stay."""
    written: list[tuple[int, str, str]] = []  # when, the study, the tag
    for key, value in client.get_experiment(experiment_id).tags.items():
        study = _OF_A_STUDY.match(key)
        if study is None:
            continue
        with contextlib.suppress(ValueError):  # no view
            view = json.loads(value)
            if view.get("sysmetrics"):  # until a user changes it in the UI
                written.append((view["createdAt"], study[1], key))
    newest: list[str] = []
    for _, study_id, key in sorted(written, reverse=True):
        if study_id not in newest:
            newest.append(study_id)
        if newest.index(study_id) >= MAX_STUDIES:
            client.delete_experiment_tag(experiment_id, key)


def open_from_the_start(study: Study) -> None:
    """Save the pages while no trial of this command has begun, and say how to watch them fill."""
    links = save_pages(study, study.frame)
    click.echo("Watch the trials in the MLflow UI:")
    click.echo(how_to_open(links[views.SCORE], mlflow.get_tracking_uri()))


def described(frame: Frame, searched: Mapping[str, object], model: LoggedModel, not_judged: Sequence[str]) -> str:
    """The description of a registered version: what it is, what to expect of it, what it costs, and its limits.

    Args:
        frame: of its study.
        searched: its hyperparameters.
        model: as it is logged.
        not_judged: the limits of which is not known whether it meets them, and why.
    """
    study = frame.studies.iloc[0]
    link = run_view(study["experiment_id"], frame.first)
    configuration = ", ".join(f"{name}={choice}" for name, choice in searched.items())
    lines = [f"{configuration}, from [a study of {study['name']}]({link})"]
    expected = expectation.in_words(study)
    lines.append(f"{expected[:1].upper()}{expected[1:]}")
    costs = [f"{name} {digits(cost, 3)}" for name, cost in model.figures.items() if name.startswith(_COSTS)]
    lines.append(f"Costs: {', '.join(costs)}")
    if study["limits"]:
        lines.append(f"Of its limits, `{study['limits']}`, it meets all that are judged")
    lines += [sentence.rstrip(".") for sentence in limits_applied.answer(frame).sentences]
    lines += [f"Not judged: {why}" for why in not_judged]
    return "\n".join(f"- {line}." for line in lines if line)
