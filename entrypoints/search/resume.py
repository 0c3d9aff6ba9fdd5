"""Continue an interrupted study: find it, check that it can go on, and give its search what earlier commands have left.

Results go to the study's run. The command that continues it also has a run, nested under the study's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from mlflow import MlflowClient
from mlflow.entities import Run

from entrypoints.errors import UserError, say
from entrypoints.links import run_view
from entrypoints.mlflow_io import find_run
from entrypoints.own_modules import user_folder
from entrypoints.runs import continued_run, recorded_run
from entrypoints.search import journal
from entrypoints.settings import as_typed
from entrypoints.tags import DATASET, STUDY_KEY
from mlflow_sysmetrics.tags import KIND, NODE, PID

if TYPE_CHECKING:
    from entrypoints.search.plan import Plan

EXECUTION = ("cpus", "time_limit_s", "ray_address")  # how a study is run, which does not change what it searches


def resume_study(command: str, run_id: str, options: dict[str, Any]) -> None:
    """Continue the study in this run.

    Args:
        command: tune or early_stop.
        run_id: MLflow's id of the study's run.
        options: what the command was given, or else its defaults.

    Raises:
        UserError: the study is missing or cannot go on, or options are given that a study has for good.
    """
    execution = {name: options[name] for name in EXECUTION}
    folder = user_folder()
    with recorded_run("resume", f"resume {command}", {"resume": run_id, **as_typed(execution)}) as run:
        _refuse_others(options)
        found = _study(run.client, run_id)
        name = found.info.run_name
        if options["register"] is not None:
            execution |= {"register": options["register"]}
        plan = _plan(run.client, found, command, execution, folder)
        # They import what a mistake above need not wait for.
        from entrypoints.search import earlier
        from entrypoints.search.study import run_study

        children = earlier.children_of(run.client, found)
        done = earlier.read(children, plan.trials)
        left, goes_on = plan.size - len(done.done), len(done.open_runs)
        if found.info.status == "FINISHED" and not left:
            raise _refused(found, f"{name} is finished, so there is nothing to resume; run a new study")
        if not journal.take(found, run):
            why = (
                f"another command has begun to continue {name} at the same moment; leave it alone until that has ended"
            )
            raise _refused(found, why)
        earlier.settle(run.client, found, children)
        says = (
            f"{len(done.done)} of {plan.size} trials are done, {goes_on} were begun and keep their runs, "
            f"{left - goes_on} are new"
        )
        link = f"[{name}]({run_view(found.info.experiment_id, run_id)})"
        run.client.set_tag(run.run_id, "mlflow.parentRunId", run_id)
        run.client.set_tag(run.run_id, "mlflow.note.content", f"Continues {link}: {says}.")
        run.rename(f"resume {command}", f"resume {name}")
        say(f"Study: {name} in run {run_id} goes on; {says}")
        with continued_run(run, run_id) as continued, plan.place:
            run_study(continued, plan, done)


def _refuse_others(options: dict[str, Any]) -> None:
    """Refuse options that the study has from its beginning; under `mlflow run` the others come with their defaults."""
    context = click.get_current_context()
    usual = {
        str(each.name): each.type_cast_value(context, each.get_default(context)) for each in context.command.params
    }
    allowed = (*EXECUTION, "register")
    given = [name for name, value in options.items() if name not in allowed and value != usual[name]]
    if given:
        raise UserError(
            f"{', '.join(given)}: a study that is resumed goes on as it began; leave this out, or run a new study"
        )


def _study(client: MlflowClient, run_id: str) -> Run:
    """The run with this id, if it is a study that no other command is running."""
    run = find_run(client, run_id)
    if run is None:
        raise UserError(f"resume={run_id}: MLflow has no run with this id; give the run id on the page of a study")
    if run.data.tags.get(KIND) != "study":
        raise _refused(run, "this run is not a study; give the id of a run of tune or early_stop")
    name, where = run.info.run_name, f"process {run.data.tags.get(PID)} on {run.data.tags.get(NODE)}"
    lives = journal.lives(run.data.tags)
    if lives:
        raise _refused(run, f"{name} is run by another command, {where}; leave it alone until that has ended")
    if lives is None and run.info.status == "RUNNING":
        raise _refused(
            run,
            f"{name} is RUNNING in {where}, which this machine cannot check; resume it there or, if that process is "
            f"gone, first call mlflow.MlflowClient().set_terminated('{run_id}', 'KILLED')",
        )
    return run


def _plan(client: MlflowClient, study: Run, command: str, execution: dict[str, Any], folder: Path) -> Plan:
    """What the study has begun, as it is to be run now."""
    begun = journal.read(client, study.info.run_id, execution)
    if begun is None:
        raise _refused(study, f"this study holds no {journal.SETTINGS} that can be read; run a new study")
    made_by = "early_stop" if begun[1] else "tune"
    if made_by != command:
        raise _refused(study, f"this is a study of {made_by}; use mlflow run . -e {made_by} to continue it")
    from entrypoints.search.plan import planned, study_key

    plan, tags = planned(*begun, folder=folder), study.data.tags
    if tags.get(STUDY_KEY) not in (None, study_key(plan.settings, plan.table)):
        raise _refused(
            study,
            f"its dataset, {tags.get(DATASET)}, is no longer what the study began with; look for the earlier one, or "
            "run a new study",
        )
    return plan


def _refused(study: Run, why: str) -> UserError:
    return UserError(f"resume={study.info.run_id}: {why}")
