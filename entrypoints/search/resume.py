"""Continue an interrupted study: find it, check that it can go on, and give its search what earlier commands have left.

Results go to the study's run. The command that continues it also has a run, nested under the study's.
"""

from __future__ import annotations

from typing import Any

import click
from mlflow import MlflowClient
from mlflow.entities import Run

from entrypoints.errors import UserError, say
from entrypoints.links import run_view
from entrypoints.mlflow_io import find_run
from entrypoints.own_modules import user_folder
from entrypoints.runs import RecordedRun, continued_run, recorded_run
from entrypoints.search import journal
from entrypoints.settings import AUTO, Limits, StudySettings, as_typed
from entrypoints.tags import DATASET, STUDY_KEY
from mlflow_sysmetrics.tags import KIND, NODE, PID

_LIMITS = ("criteria", "predict", "scheduler")


def resume_study(command: str, run_id: str, options: dict[str, object]) -> None:
    """Continue the study in this run.

    Args:
        command: tune or early_stop.
        run_id: MLflow's id of the study's run.
        options: what the command was given, or else its defaults.

    Raises:
        UserError: the study is missing or cannot go on, or the options are not its own.
    """
    execution = {name: options[name] for name in journal.EXECUTION if name in options}
    folder = user_folder()
    with recorded_run("resume", f"resume {command}", {"resume": run_id, **execution}) as run:
        found = _study(run.client, run_id, command)
        settings, limits = _settings(run.client, run_id, command, options)
        # They import what a mistake above need not wait for.
        from entrypoints.search import earlier, full_study
        from entrypoints.search.plan import planned
        from entrypoints.search.start import go_on

        plan = planned(settings, limits, folder=folder)
        _check_data(found, full_study.study_key(settings, plan.table))
        done = earlier.read(run.client, found, plan.trials)
        left = len(done.left(plan.trials))
        if found.info.status == "FINISHED" and not left:
            raise UserError(
                f"resume={run_id}: {found.info.run_name} is finished, so there is nothing to resume; run a new study"
            )
        if not journal.take(found, run):
            raise UserError(
                f"resume={run_id}: another command has begun to continue {found.info.run_name} at the same moment; "
                "leave it alone until that has ended"
            )
        earlier.settle(run.client, found)
        goes_on = len(done.open_runs)
        says = (
            f"{len(done.done)} of {len(plan.trials)} trials are done, "
            f"{goes_on} were begun and keep their runs, {left - goes_on} are new"
        )
        _introduce(run, found, says)
        run.rename(f"resume {command}", f"resume {found.info.run_name}")
        say(f"Study: {found.info.run_name} in run {run_id} goes on; {says}")
        with continued_run(run, run_id) as continued:
            go_on(continued, plan, done)


def _study(client: MlflowClient, run_id: str, command: str) -> Run:
    """The run with this id, if it is a study of this command that no other one is running."""
    run = find_run(client, run_id)
    given = f"resume={run_id}"
    if run is None:
        raise UserError(f"{given}: MLflow has no run with this id; give the run id on the page of a study")
    tags = run.data.tags
    if tags.get(KIND) != "study":
        parent = tags.get("mlflow.parentRunId")
        advice = (
            f"give the one that it is part of, {parent}" if parent else "give the id of a run of tune or early_stop"
        )
        raise UserError(f"{given}: this run is not a study but of the kind {tags.get(KIND, 'unknown')}; {advice}")
    for by in (run, journal.last_command(client, run)):
        _see_that_it_has_ended(by, f"{given}: {run.info.run_name}")
    return run


def _see_that_it_has_ended(run: Run, study: str) -> None:
    """Check that no process writes to the run of a study, or of a command that continues it."""
    tags = run.data.tags
    where = f"process {tags.get(PID)} on {tags.get(NODE)}"
    if journal.lives(tags):
        raise UserError(f"{study} is run by another command, {where}; leave it alone until that has ended")
    if run.info.status == "RUNNING" and not journal.is_run_here(tags):
        raise UserError(
            f"{study} is RUNNING in {where}, which this machine cannot check; resume it there or, if that process is "
            f"gone, first call mlflow.MlflowClient().set_terminated('{run.info.run_id}', 'KILLED')"
        )


def _settings(
    client: MlflowClient, run_id: str, command: str, options: dict[str, Any]
) -> tuple[StudySettings, Limits | None]:
    """The settings of the study; of those given now only its execution."""
    about = journal.read(client, run_id)
    if about is None:
        raise UserError(
            f"resume={run_id}: this study holds no {journal.SETTINGS}, so it ended before its search began; "
            "run a new study"
        )
    made_by = "early_stop" if "criteria" in about else "tune"
    if made_by != command:
        raise UserError(f"resume={run_id}: this is a study of {made_by}; use mlflow run . -e {made_by} to continue it")
    settings, limits = _made(options)
    given, usual = journal.described(settings, limits), journal.described(*_made(_defaults()))
    about = usual | about  # what the version that began it had no option for was as it is by default
    about |= {"register": given["register"]} if given["register"] else {}
    for name, value in given.items():
        if value not in (usual[name], about[name]):
            raise UserError(
                f"{name}={_text(name, value)}: the study {run_id} has {name}={_text(name, about[name])}, and goes on "
                f"as it began; leave {name} out, or run a new study"
            )
    return journal.restored(about, settings, limits)


def _made(options: dict[str, Any]) -> tuple[StudySettings, Limits | None]:
    settings = StudySettings(**{name: value for name, value in options.items() if name not in _LIMITS})
    return settings, Limits.of(**{name: options[name] for name in _LIMITS}) if "criteria" in options else None


def _defaults() -> dict[str, Any]:
    """What the command in progress is called with when nothing is given."""
    context = click.get_current_context()
    return {
        str(each.name): each.type_cast_value(context, each.get_default(context))
        for each in context.command.params
        if each.name != "resume"
    }


def _text(name: str, value: Any) -> str:
    """A setting as it is given on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if name == "criteria" and value is None:
        return AUTO
    return as_typed({name: tuple(value) if isinstance(value, list) else value})[name]


def _check_data(study: Run, study_key: str) -> None:
    """Check that the dataset is still the one that the study began with."""
    begun_with = study.data.tags.get(STUDY_KEY, study_key)
    if begun_with != study_key:
        raise UserError(
            f"resume={study.info.run_id}: its dataset, {study.data.tags.get(DATASET)}, is no longer what "
            "the study began with; look for the earlier one, or run a new study"
        )


def _introduce(run: RecordedRun, study: Run, says: str) -> None:
    """Say in the command's run what it continues."""
    link = f"[{study.info.run_name}]({run_view(study.info.experiment_id, study.info.run_id)})"
    run.client.set_tag(run.run_id, "mlflow.parentRunId", study.info.run_id)
    run.client.set_tag(run.run_id, "mlflow.note.content", f"Continues {link}: {says}.")
