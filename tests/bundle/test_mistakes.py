"""Mistakes of a user: each ends in seconds with one sentence that says what to do, and a FAILED run that repeats it."""

import importlib
import os
import platform
import re
import shlex
import sys
from pathlib import Path

import psutil
import pytest
from cases import cases, check_answers
from commands import copy_store, in_use, invoke, store_uri, the_run
from mlflow import MlflowClient
from own_models import ALGORITHMS, OF_TABLE, write_own_models
from records import store, study_settings, trial
from reference import configured

import entrypoints
from entrypoints.runs.recorded import RecordedRun
from entrypoints.runs.tags import DATASET, PID_SINCE, STUDY_KEY
from entrypoints.study import resume
from entrypoints.tune import tune
from mlflow_sysmetrics.recording.tags import ERROR, KIND, NODE, PID

OF_OWN_MODULES = {**OF_TABLE, "algorithm": ",".join(ALGORITHMS), "folds": "2", "space": "large.yaml"}


@pytest.mark.slow
@cases(
    "entry, given, says",
    {
        "in a file": ("tune", OF_OWN_MODULES, "space: batch_size 5000 "),
        "not declared in MLproject": ("main", {"fold": "3"}, "fold: no such parameter; use folds, the closest name"),
    },
)
def test_mistake_under_mlflow_run(run_project, new_store, tmp_path, entry, given, says):
    """It passes the sentence on and makes no second run: its own is FAILED and says why.

    Paths are the user's, and so are modules: in the folder where they typed it, in a package there, and beside the
    table.
    """
    write_own_models(tmp_path)
    folder = copy_store(new_store, tmp_path / "user")
    (folder / "large.yaml").write_text("batch_size: 5000")
    command = run_project(entry, folder, **given)
    assert command.exit_code != 0
    assert "Traceback" not in command.stdout + command.stderr
    (sentence,) = re.findall("^Error: (.*)$", command.stderr, re.MULTILINE)
    assert sentence.startswith(says)
    run = the_run(folder)
    assert run.info.status == "FAILED"
    assert run.data.tags[ERROR] == sentence


@pytest.fixture(scope="module")
def here(new_store, tmp_path_factory):
    """The user's folder, with a store, while commands run in this process; no server can be reached."""
    folder = copy_store(new_store, tmp_path_factory.mktemp("here"))
    (folder / "sub").mkdir()
    with pytest.MonkeyPatch.context() as patch, in_use(folder):
        patch.setattr(sys, "path", [*sys.path])
        patch.setenv("MLFLOW_TRACKING_URI", store_uri(folder))
        yield folder


def _resumable(client):
    """The ids, by name, of runs that a command may be asked to continue."""
    one = study_settings(space={"batch_size": [64], "learning_rate": [0.01], "alpha": [0.001]})
    parent = psutil.Process(os.getppid())  # lives as long as this process
    process = {PID: str(parent.pid), PID_SINCE: str(parent.create_time())}
    tags = {
        "ended": {},
        "changed": {STUDY_KEY: "of other data", DATASET: "red_wine"},
        "early": {},
        "running": {NODE: platform.node(), **process},
        "elsewhere": {NODE: "another-machine", **process},
    }
    runs = {}
    for name, own in tags.items():
        runs[name] = client.create_run("0", run_name=f"study {name}", tags={KIND: "study", **own})
    for name in ("ended", "changed"):
        resume.keep(RecordedRun.of(client, runs[name]), one)
    ids = {f"<{name}>": run.info.run_id for name, run in runs.items()}
    for name in ("ended", "changed", "early"):
        client.set_terminated(runs[name].info.run_id)
    done = trial(1, configuration=configured(batch_size=64, learning_rate=0.01, alpha=0.001))
    ids["<trial>"] = store(client, ids["<ended>"], done)
    return ids | {
        "process <pid>": f"process {parent.pid}",
        "on <this machine>": f"on {platform.node()}",
        "<folder>": str(Path.cwd()),
    }


def _with_ids(text, ids):
    """A text with the ids that it names."""
    for name, run_id in ids.items():
        text = text.replace(name, run_id)
    return text


def test_every_mistake_is_answered_in_one_sentence(here, monkeypatch):
    """What was given, what is allowed, and what to do. The command's run is FAILED and holds the sentence, too."""
    client = MlflowClient()
    ids = _resumable(client)
    names = {run_id: name for name, run_id in ids.items()}

    def answer(line):
        run_id = client.create_run("0").info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        result = invoke(tune, *shlex.split(_with_ids(line, ids)))
        run = client.get_run(run_id)
        assert (result.exit_code, run.info.status) == (1, "FAILED"), line
        assert result.stderr == f"Error: {run.data.tags[ERROR]}\n"
        return _with_ids(result.output.rstrip(), names)

    check_answers(Path(__file__).parent / "golden" / "mistakes.txt", answer)


def test_what_an_own_module_logs_is_in_the_run_of_its_study(here):
    """Also where a mistake is found before the study begins."""
    (here / "logs_at_once.py").write_text("import mlflow\nmlflow.log_param('seen', 1)\nclass Model: ...\n")
    result = invoke(tune, dataset="diabetes", algorithm="logs_at_once.Model")
    assert result.exit_code == 1, result.output
    (run,) = MlflowClient().search_runs(["0"], "params.seen = '1'")
    assert (run.info.status, run.data.tags["sysmetrics.kind"]) == ("FAILED", "study")


def test_bundle_without_its_packages_says_what_to_type(monkeypatch):
    """Before an import of one of them fails with a traceback."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit, match=r"needs optuna; .* pip install -e '\.\[bundle\]'$"):
        importlib.reload(entrypoints)
