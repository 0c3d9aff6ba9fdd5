"""Mistakes of a user: each ends in seconds with one sentence that says what to do, and a FAILED run that repeats it."""

import importlib
import os
import platform
import re
import sys

import click
import psutil
import pytest
from click.testing import CliRunner
from commands import copy_store, in_use, store_uri, the_run
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from own_models import ALGORITHMS, OF_TABLE, write_own_models
from study_settings import study_settings

import entrypoints
from entrypoints.models.trial_record import end_tags
from entrypoints.runs import RecordedRun
from entrypoints.search import resume
from entrypoints.tags import PID_SINCE
from entrypoints.tune import tune
from mlflow_sysmetrics.delivery.operations import now_ms
from mlflow_sysmetrics.tags import KIND, NODE, PID

OF_OWN_MODULES = {**OF_TABLE, "algorithm": ",".join(ALGORITHMS), "folds": "2", "space": "large.yaml"}


def _sentence(stderr):
    """The one line that starts with "Error: ", without that start."""
    (line,) = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    return line.removeprefix("Error: ")


@pytest.mark.slow
def test_mistake_under_mlflow_run(run_project, new_store, tmp_path):
    """It passes the sentence on and makes no second run: its own is FAILED and says why.

    Paths are the user's, and so are modules: in the folder where they typed it, in a package there, and beside the
    table.
    """
    write_own_models(tmp_path)
    folder = copy_store(new_store, tmp_path / "user")
    (folder / "large.yaml").write_text("batch_size: 5000")
    command = run_project("tune", folder, **OF_OWN_MODULES)
    assert command.exit_code != 0
    assert "Traceback" not in command.stdout + command.stderr
    assert _sentence(command.stderr).startswith("space: batch_size 5000 ")
    run = the_run(folder)
    assert run.info.status == "FAILED"
    assert run.data.tags["sysmetrics.error"] == _sentence(command.stderr)


@pytest.mark.slow
def test_misspelt_parameter_under_mlflow_run(run_project, new_store, tmp_path):
    """MLflow hands it on, since it may be one that MLproject does not declare."""
    folder = copy_store(new_store, tmp_path / "user")
    command = run_project("main", folder, fold="3")
    assert command.exit_code != 0
    assert "Traceback" not in command.stdout + command.stderr
    assert _sentence(command.stderr) == "fold: no such parameter; use folds, the closest name"
    run = the_run(folder)
    assert (run.info.status, run.data.params["fold"]) == ("FAILED", "3")
    assert run.data.tags["sysmetrics.error"] == _sentence(command.stderr)


DO = "give|use|choose|look|fix|name|add|lower|set|leave|the largest batch|write|keep|one of|run|resume|save"
RUNS = ("ended", "changed", "early", "running", "elsewhere", "trial", "foreign")


def _bad(name, says, *allowed, **options):
    """A row of the table below: the sentence starts with what was given, and says what is allowed.

    Of what each room refuses, its own tests have all.
    """
    return pytest.param(options, says, allowed, id=name)


BAD_INPUTS = [
    _bad("option", "max_rows=some: ", "all or a whole number from 1", max_rows="some"),
    _bad("misspelt", "fold: no such parameter", "use folds, the closest name", fold="3"),
    _bad("unknown", "xyz: no such parameter", "use one of dataset, target, drop, ", xyz="3"),
    _bad("no-home", "dataset=~nobody-at-all/a.csv: ", "CSV or Parquet", dataset="~nobody-at-all/a.csv", target="a"),
    _bad("endless", "length=forever: ", "10 epochs", length="forever"),
    _bad("no-scorer", "metric=roc_acu: scikit-learn has no scorer of this name", "roc_auc", metric="roc_acu"),
    _bad("score-of-classes", "metric=f1: it cannot score quality", "neg_mean_absolute_error", metric="f1"),
    _bad("score-of-numbers", "metric=r2: it cannot score class", "roc_auc", dataset="diabetes", metric="r2"),
    _bad("no-class", "positive=ja: one of the classes of class is allowed", dataset="diabetes", positive="ja"),
    _bad("no-probabilities", "metric=neg_log_loss: it needs predict_proba", dataset="diabetes", metric="neg_log_loss"),
    _bad("no-classes", "space: class_weight is not a hyperparameter of linear", space="{class_weight: balanced}"),
    _bad("no-group", "group=fruit: one of the columns", "fixed_acidity", group="fruit"),
    _bad("relative", "limits=served_p95_ms<=2x median: ", "a number alone", limits="served_p95_ms<=2x median"),
    _bad("no-port", "ray_address=10.0.0.1: ", "local, auto", "host:port", ray_address="10.0.0.1"),
    _bad("no-run-to-resume", "resume=nowhere: MLflow has no run with this id", "run id", resume="nowhere"),
    _bad("no-study", "resume=<trial>: this run is not a study", "tune or early_stop", resume="<trial>"),
    _bad("nothing-left", "resume=<ended>: study ended is finished", "nothing to resume", resume="<ended>"),
    _bad("never-began", "resume=<early>: this study holds no settings.json", "new study", resume="<early>"),
    _bad("still-run", "resume=<running>: study running is run by another command, process ", resume="<running>"),
    _bad("run-elsewhere", "resume=<elsewhere>: ", "on another-machine", "'KILLED'", resume="<elsewhere>"),
    _bad("other-data", "resume=<changed>: its dataset, ", "no longer what the study began with", resume="<changed>"),
    _bad("other-seed", "seed: a study that is resumed goes on as it began", "leave this", resume="<ended>", seed="3"),
    _bad("other-limits", "limits: a study that is resumed goes on", "leave", resume="<ended>", limits="elapsed_s<=9"),
]


@pytest.fixture(scope="module")
def here(new_store, tmp_path_factory):
    """The user's folder, with a store, while commands run in this process; no server can be reached."""
    folder = copy_store(new_store, tmp_path_factory.mktemp("here"))
    (folder / "sub").mkdir()
    with pytest.MonkeyPatch.context() as patch, in_use(folder):
        patch.setattr(sys, "path", [*sys.path])
        patch.setenv("MLFLOW_TRACKING_URI", store_uri(folder))
        patch.setenv("MLFLOW_SYSMETRICS_DATA", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def resumable(here):
    """The ids, by name, of runs that a command may be asked to continue."""
    client, one = MlflowClient(), study_settings(space={"batch_size": [64], "learning_rate": [0.01], "alpha": [0.001]})
    ids = {name: client.create_run("0", run_name=f"study {name}").info.run_id for name in RUNS}
    for name in set(RUNS) - {"trial", "foreign"}:
        client.set_tag(ids[name], KIND, "study")
    for name in ("ended", "changed"):
        resume.keep(RecordedRun.of(client, client.get_run(ids[name])), one)
    client.set_tag(ids["changed"], "sysmetrics.study_key", "of other data")
    parent = psutil.Process(os.getppid())  # lives as long as this process
    for name, node in {"running": platform.node(), "elsewhere": "another-machine"}.items():
        about = {NODE: node, PID: parent.pid, PID_SINCE: parent.create_time()}
        client.log_batch(ids[name], tags=[RunTag(key, str(value)) for key, value in about.items()])
    own = {KIND: "trial", "mlflow.parentRunId": ids["ended"], "sysmetrics.trial_id": "0", **end_tags([])}
    searched = {"algorithm": "linear", "batch_size": 64, "learning_rate": 0.01, "alpha": 0.001}
    params = [Param(name, str(value)) for name, value in (searched | one.shared).items()]
    client.log_batch(ids["trial"], [Metric("elapsed_s", 1.0, 0, 0)], params, [RunTag(*tag) for tag in own.items()])
    for name in set(RUNS) - {"running", "elsewhere"}:
        client.set_terminated(ids[name], "FINISHED")
    return ids


@pytest.mark.parametrize(("options", "says", "allowed"), BAD_INPUTS)
def test_every_bad_input_is_answered_in_one_sentence(
    here,
    resumable,
    monkeypatch,
    options,
    says,
    allowed,
):
    """All that is printed is one line: what was given, what is allowed, and what to do. No trial is run.

    The command's run is FAILED and holds the sentence, too: its own, or that of `mlflow run` where it began none.
    """

    def named(text):
        return re.sub(r"<(\w+)>", lambda match: resumable.get(match[1], match[0]), text)

    options = {name: named(value) for name, value in options.items()}
    says, allowed = named(says), (*map(named, allowed),)
    began_ms = now_ms()
    line = [part for name, value in options.items() for part in (f"--{name}", value)]
    if not _is_parsed(line):
        monkeypatch.setenv("MLFLOW_RUN_ID", MlflowClient().create_run("0").info.run_id)
    result = CliRunner().invoke(tune, line)
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if ": read as " not in line] == []
    assert result.stderr == f"Error: {_sentence(result.stderr)}\n"
    assert _sentence(result.stderr).startswith(says)
    assert [text for text in allowed if text not in result.stderr] == []
    assert re.search(rf"; ({DO})\b", result.stderr)
    (run,) = MlflowClient().search_runs(["0"], f"attributes.start_time >= {began_ms}")
    assert (run.info.status, run.data.tags["sysmetrics.error"]) == ("FAILED", _sentence(result.stderr))


def _is_parsed(line):
    """Whether each option by itself is right."""
    try:
        tune.make_context("tune", [*line])  # it empties the list
    except click.ClickException:
        return False
    return True


def test_what_an_own_module_logs_is_in_the_run_of_its_study(here):
    """Also where a mistake is found before the study begins."""
    (here / "logs_at_once.py").write_text("import mlflow\nmlflow.log_param('seen', 1)\nclass Model: ...\n")
    result = CliRunner().invoke(tune, ["--dataset", "diabetes", "--algorithm", "logs_at_once.Model"])
    assert result.exit_code == 1, result.output
    (run,) = MlflowClient().search_runs(["0"], "params.seen = '1'")
    assert (run.info.status, run.data.tags["sysmetrics.kind"]) == ("FAILED", "study")


def test_bundle_without_its_packages_says_what_to_type(monkeypatch):
    """Before an import of one of them fails with a traceback."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit, match=r"needs optuna; .* pip install -e '\.\[bundle\]'$"):
        importlib.reload(entrypoints)
