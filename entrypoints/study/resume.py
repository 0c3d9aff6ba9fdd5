"""Continue an interrupted study: what a study leaves in its runs for that, and the command that goes on from there.

Results go to the study's run. The command that continues it also has a run, nested under the study's.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import psutil
from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from entrypoints.compute.own_modules import user_folder
from entrypoints.errors import UserError, say
from entrypoints.models.configuration import Configuration
from entrypoints.options.kinds import AUTO
from entrypoints.options.length import Length
from entrypoints.options.search_space import Space, Values, is_distribution
from entrypoints.options.settings import StudySettings, as_typed
from entrypoints.runs.links import how_to_resume, run_view
from entrypoints.runs.mlflow_io import figures_of, find_run, load_json, search_runs
from entrypoints.runs.recorded import RecordedRun, continued_run, recorded_command
from entrypoints.runs.tags import (
    BEST_TRIAL_RUN_ID,
    BY_RACE,
    DATASET,
    DIVERGED,
    END,
    FEASIBLE,
    NOTE,
    NUMBER,
    PID_SINCE,
    RACED,
    ROLE,
    STOP_HOW,
    STUDY_KEY,
)
from entrypoints.search.grid import Choice
from entrypoints.study.plan import planned
from entrypoints.study.study import Study
from entrypoints.trials.trial import Trial, read_end
from mlflow_sysmetrics.recording.tags import (
    BY_LIMITS,
    BY_PERSON,
    ERROR,
    KIND,
    NODE,
    OF_AN_END,
    PID,
    STOP_REQUEST,
    STOPPED_BY,
    TRIAL_ID,
)

EXECUTION = ("cpus", "time_limit_s", "ray_address")  # how a study is run, which does not change what it searches
SETTINGS = "settings.json"
RESUMED_BY = "resumed_by_"  # and a number: params of a study, each the run of a command that continues it
_SAME_START_S = 2.0  # the kernel's clock, from which a process's start is counted, is set now and then
_OF_AN_END = (*OF_AN_END, STOP_REQUEST, END, DIVERGED, FEASIBLE)


def keep(run: RecordedRun, settings: StudySettings) -> str:
    """Record the settings of a search in its run, and that this process runs it; return the command to continue it.

    Until the study has ended, its page says that command, too.
    """
    run.client.log_text(run.run_id, json.dumps(asdict(settings), indent=1, default=str), SETTINGS)
    _claim(run.client, run.run_id)
    command = how_to_resume(settings.entry_point, run.run_id)
    note = f"**Not finished.** If the study was interrupted, continue it with `{command}`: finished trials are skipped."
    run.client.set_tag(run.run_id, NOTE, note)
    return command


def kept(client: MlflowClient, run_id: str, execution: Mapping[str, Any]) -> StudySettings | None:
    """What ``keep`` has recorded, but for how it is run now; None if it is missing or unreadable."""
    try:
        settings: dict[str, Any] = load_json(client, run_id, SETTINGS) | execution
        settings["length"] = Length(**settings["length"])
        return StudySettings(**settings)
    except (MlflowException, OSError, ValueError, KeyError, TypeError):
        return None


def resume_study(run_id: str, options: dict[str, Any]) -> None:
    """Continue the study in this run.

    Args:
        run_id: MLflow's id of the study's run.
        options: what the command was given, or else its defaults.

    Raises:
        UserError: the study is missing or cannot go on, or options are given that a study has for good.
    """
    execution = {name: options[name] for name in EXECUTION}
    folder = user_folder()
    given = {"resume": run_id, **as_typed(execution)}
    own_name = f"resume {run_id[:8]}"
    with recorded_command("resume", own_name, given) as command_run:
        run = command_run.open()
        _refuse_others(options)
        found = _study(run.client, run_id)
        name = found.info.run_name
        if options["register"] is not None:
            execution["register"] = options["register"]
        study = _planned(run.client, found, execution, folder)
        study.began = psutil.Process().create_time()
        children = children_of(run.client, found)
        for trial in earlier_trials(children, study):
            if trial.status == "RUNNING":
                study.open_runs[trial.configuration.id] = str(trial.run_id)
                if not trial.configuration.role:
                    study.begun.append(trial.configuration)
            else:
                study.trials_like(trial.configuration)[trial.trial_id] = trial
        n_done, n_open = len(study.trials), len(study.begun)
        study.is_continued = bool(n_done + n_open)
        n_new = 0 if study.has_enough else study.size - n_done - n_open
        if found.info.status == "FINISHED" and not n_open + n_new:
            raise _refused(found, f"{name} is finished, so there is nothing to resume; run a new study")
        if not take(found, run):
            why = (
                f"another command has begun to continue {name} at the same moment; leave it alone until that has ended"
            )
            raise _refused(found, why)
        settle(run.client, found, children)
        done_of = f"{n_done} of {study.size} trials are done"
        most = "at most " if study.learns else ""
        says = f"{done_of}, {n_open} were begun and keep their runs, {most}{n_new} are new"
        link = f"[{name}]({run_view(found.info.experiment_id, run_id)})"
        run.client.set_tag(run.run_id, "mlflow.parentRunId", run_id)
        run.client.set_tag(run.run_id, NOTE, f"Continues {link}: {says}.")
        run.rename(own_name, f"resume {name}")
        say(f"Study: {name} in run {run_id} goes on; {says}")
        from entrypoints.study.running import best_kept, run_study  # imports what a mistake above need not wait for

        with continued_run(run, run_id) as study.run, study.backend:
            command_run.continued_by = keep(study.run, study.settings)
            command_run.best_so_far = study.best_so_far
            with best_kept(study):
                run_study(study)


def _refuse_others(options: dict[str, Any]) -> None:
    """Refuse options that the study has from its beginning; under `mlflow run` the others come with their defaults."""
    usual = {option.name: {option.default} for option in click.get_current_context().command.params}
    usual["limits"].add(AUTO)  # with which early_stop comes
    texts = as_typed({name: value for name, value in options.items() if name not in (*EXECUTION, "register")})
    given = [name for name, text in texts.items() if text not in usual[name]]
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
    name = run.info.run_name
    where = f"process {run.data.tags.get(PID)} on {run.data.tags.get(NODE)}"
    lives = is_alive(run.data.tags)
    if lives:
        raise _refused(run, f"{name} is run by another command, {where}; leave it alone until that has ended")
    if lives is None and run.info.status == "RUNNING":
        raise _refused(
            run,
            f"{name} is RUNNING in {where}, which this machine cannot check; resume it there or, if that process is "
            f"gone, first call mlflow.MlflowClient().set_terminated('{run_id}', 'KILLED')",
        )
    return run


def _planned(client: MlflowClient, study: Run, execution: dict[str, Any], folder: Path) -> Study:
    """What the study has begun, as it is to be run now."""
    settings = kept(client, study.info.run_id, execution)
    if settings is None:
        raise _refused(study, f"this study holds no {SETTINGS} that can be read; run a new study")
    plan = planned(settings, folder=folder)
    tags = study.data.tags
    if tags.get(STUDY_KEY) not in (None, plan.key):
        raise _refused(
            study,
            f"its dataset, {tags.get(DATASET)}, is no longer what the study began with; look for the earlier one, or "
            "run a new study",
        )
    return plan


def _refused(study: Run, why: str) -> UserError:
    return UserError(f"resume={study.info.run_id}: {why}")


def _claim(client: MlflowClient, run_id: str) -> None:
    """Record that this process writes to the run from now on."""
    process = psutil.Process()
    about = {NODE: platform.node(), PID: str(process.pid), PID_SINCE: str(process.create_time())}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in about.items()])


def take(study: Run, by: RecordedRun) -> bool:
    """Whether this command may continue a study, which several may try at the same time.

    Each tries to set the same param of the study, and MLflow lets only one succeed.
    """
    times = sum(name.startswith(RESUMED_BY) for name in study.data.params)
    try:
        by.client.log_param(study.info.run_id, f"{RESUMED_BY}{times + 1}", by.run_id)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        return False
    _claim(by.client, study.info.run_id)
    return True


def is_alive(tags: Mapping[str, str]) -> bool | None:
    """Whether another process runs the study with these tags; None if it is one of another machine."""
    if tags.get(NODE, platform.node()) != platform.node():
        return None
    if PID not in tags or int(tags[PID]) == os.getpid():
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(tags[PID]))
        same = abs(process.create_time() - float(tags[PID_SINCE])) <= _SAME_START_S  # ids are used again
        return same and process.status() != psutil.STATUS_ZOMBIE
    return False


def children_of(client: MlflowClient, study: Run) -> list[Run]:
    """The runs below a study's."""
    return list(search_runs(client, study.info.experiment_id, f"tags.mlflow.parentRunId = '{study.info.run_id}'"))


def earlier_trials(children: Iterable[Run], study: Study) -> list[Trial]:
    """The trials of earlier commands, in the order of their starts; those that are to go on are RUNNING."""
    of_trials = [run for run in children if _is_trial(run) and run.data.params]
    of_trials.sort(key=lambda run: _status(run) is not None)  # of two runs of one trial the done one counts
    trials = {}
    for run in of_trials:
        configuration = _configuration(run, study)
        if configuration is not None:
            trials[configuration.id] = _trial(run, configuration)
    return sorted(trials.values(), key=lambda trial: trial.configuration.number)


def _configuration(run: Run, study: Study) -> Configuration | None:
    """What a trial's run says that it trains; None: the study does not try that."""
    tags, params = run.data.tags, run.data.params
    if ROLE in tags:
        references = study.references.values()
        return next((each for each in references if str(each.searched) == str(_searched(params, {}))), None)
    space = next((space for space in study.spaces if params.get("algorithm") in space["algorithm"]), None)
    if space is None:
        return None
    return study.configuration(_searched(params, space), int(tags.get(NUMBER, 0)))


def _searched(params: Mapping[str, str], space: Space) -> Choice:
    """The values of a trial's params, of the names that are searched."""
    searched = {"algorithm": params["algorithm"]}
    return searched | {name: _value(params[name], space[name]) for name in space if name in params}


def _value(text: str, values: Values) -> Any:
    """The value that is written so: one of the listed ones, or else a number that was drawn."""
    if not is_distribution(values):
        for value in values:
            if str(value) == text:
                return value
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _trial(run: Run, configuration: Configuration) -> Trial:
    tags = dict(run.data.tags)
    if read_end(tags):  # a command that was killed may have said since that it ended the trial
        tags.pop(STOPPED_BY, None)
        if STOP_HOW in tags:
            tags[STOPPED_BY] = BY_RACE if tags[STOP_HOW] == RACED else BY_LIMITS
    run_id = run.info.run_id
    return Trial(tags.get(TRIAL_ID, run_id), configuration, _status(run) or "RUNNING", figures_of(run), tags, run_id)


def settle(client: MlflowClient, study: Run, children: Iterable[Run]) -> None:
    """Correct the status of every run of a study that no process works on, and remove the tags of an earlier end."""
    for run in children:
        if _is_trial(run) and not run.data.params:
            client.delete_run(run.info.run_id)  # created just before the command was killed: its trial is unknown
            continue
        before, status = run.info.status, _status(run)
        now = status or ("KILLED" if before == "RUNNING" else before)
        if now != before:
            client.set_terminated(run.info.run_id, now)
        if _is_trial(run) and status is None:
            _forget(client, run, _OF_AN_END)
    _forget(client, study, (ERROR, BEST_TRIAL_RUN_ID, STOP_REQUEST, STOPPED_BY))


def _is_trial(run: Run) -> bool:
    return bool(run.data.tags.get(KIND) == "trial")


def _status(run: Run) -> str | None:
    """The status of a trial that ended by itself, or was ended by its limits, a race or a person; else None.

    A trial writes its figures and the tags of its end last; the status of its run may be missing.
    """
    tags = run.data.tags
    if read_end(tags) and "elapsed_s" in run.data.metrics:
        return "KILLED" if STOP_HOW in tags else "FINISHED"
    return "KILLED" if run.info.status == "KILLED" and tags.get(STOPPED_BY) == BY_PERSON else None


def _forget(client: MlflowClient, run: Run, beginnings: tuple[str, ...]) -> None:
    for name in run.data.tags:
        if name.startswith(beginnings):
            client.delete_tag(run.info.run_id, name)
