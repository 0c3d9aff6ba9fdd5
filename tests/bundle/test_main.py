"""The default entry point: the steps of a study, one after the other."""

import os
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from commands import (
    Study,
    children,
    copy_store,
    invoke,
    runs_of_kind,
    store_uri,
)
from mlflow import MlflowClient
from own_models import ALGORITHMS, OF_TABLE, write_own_models

from entrypoints.main import main as main_command
from entrypoints.own_modules import OF_STEPS
from entrypoints.prepare import prepare
from entrypoints.tune import tune


@pytest.fixture(autouse=True)
def _no_folder_of_steps(monkeypatch):
    """In this process main sets it for the tests that follow, too."""
    monkeypatch.setenv(OF_STEPS, "")  # so that whatever is set now is undone
    monkeypatch.delenv(OF_STEPS)


def test_main_ends_with_the_first_step_that_fails(store_in_use, monkeypatch, capfd):
    """A dataset that prepare does not know ends main: tune is not tried, both runs are FAILED and say why."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_in_use.tracking_uri)
    result = invoke(main_command, dataset="nonsense")
    of_prepare = capfd.readouterr()
    assert result.exit_code == 1
    assert "Traceback" not in result.output + of_prepare.out + of_prepare.err
    assert of_prepare.err.count("Error: dataset=nonsense") == 1
    assert "Error: prepare did not succeed" in result.stderr
    (main,) = runs_of_kind(store_in_use, "main")
    (step,) = [run for run in store_in_use.search_runs(["0"]) if run.info.run_id != main.info.run_id]
    assert step.data.tags["mlflow.project.entryPoint"] == "prepare"
    assert step.data.tags["mlflow.parentRunId"] == main.info.run_id
    assert (main.info.status, step.info.status) == ("FAILED", "FAILED")
    assert "prepare did not succeed" in main.data.tags["sysmetrics.error"]
    assert "dataset=nonsense" in step.data.tags["sysmetrics.error"]


def test_main_studies_datasets_in_turn_and_then_compares_them(store_in_use, monkeypatch):
    """Each step gets what it takes, and the reports the studies of this command by their ids.

    What is registered is the model that meets the limits.
    """
    ran = []

    def run(uri, entry_point, parameters, **options):
        assert os.environ[OF_STEPS] == str(Path.cwd())
        ran.append((entry_point, parameters))
        return SimpleNamespace(run_id=f"{entry_point} of {parameters.get('dataset')}")

    monkeypatch.setattr(mlflow.projects, "run", run)
    given = {"target": "a", "max_rows": "500", "folds": "3", "seed": "7", "algorithm": "svm,my.Model"}
    given |= {"space": '{"batch_size": [8], "alpha": {"loguniform": [0.1, 1]}}', "choose": "cheapest", "served": "none"}
    given |= {"limits": "elapsed_s<=3", "register": "wine"}
    result = invoke(main_command, dataset="red_wine,diabetes", **given)
    assert result.exit_code == 0, result.output
    whole = {str(option.name): str(option.default) for option in tune.params} | given
    del whole["dataset"], whole["resume"]
    of_data = {option.name: whole[option.name] for option in prepare.params if option.name in whole}
    full = {name: text for name, text in whole.items() if name not in ("limits", "register")}
    expected = []
    for name in ("red_wine", "diabetes"):
        of = {"dataset": name}
        expected += [("prepare", of | of_data), ("tune", of | full), ("early_stop", of | whole)]
        expected += [("report", {"study": f"tune of {name},early_stop of {name}"})]
    assert ran == [*expected, ("report", {"study": "tune of red_wine,tune of diabetes"})]
    (main,) = runs_of_kind(store_in_use, "main")
    assert main.info.run_name == "main red_wine, diabetes"
    assert main.data.params == {"dataset": "red_wine,diabetes", **whole}


MLP = "sklearn.neural_network.MLPClassifier"
SPACE = """
batch_size: 32
alpha: [0.001, 0.01]
hidden_layer_sizes: [[4], [8, 4]]
"""


@pytest.fixture(scope="module")
def main_study(new_store, run_project, tmp_path_factory):
    """The study without limits that main has made of a user's own table, with algorithms of all kinds.

    By `mlflow run` in a folder of the user.
    """
    folder = tmp_path_factory.mktemp("main")
    write_own_models(folder)
    user = copy_store(new_store, folder / "user")
    (user / "space.yaml").write_text(SPACE)
    given = {**OF_TABLE, "algorithm": ",".join(("logistic", MLP, *ALGORITHMS)), "space": "space.yaml"}
    command = run_project("main", user, **given, max_rows="300", folds="3", served="none")
    assert command.exit_code == 0, command.stderr
    client = MlflowClient(store_uri(user))
    run = runs_of_kind(client, "study")[1]
    return Study(user, command, client, run, children(client, run, "trial"), set())


@pytest.mark.slow
def test_main_runs_its_steps_nested(main_study):
    """It prepares the rows that are asked for, searches twice, and reports on both searches."""
    (main,) = runs_of_kind(main_study.client, "main")
    (prepare,), (report,) = (children(main_study.client, main, kind) for kind in ("prepare", "report"))
    limited, _ = children(main_study.client, main, "study")
    steps = [prepare, main_study.run, limited, report]
    assert [run.info.status for run in (main, *steps)] == ["FINISHED"] * 5
    entries = [run.data.tags["mlflow.project.entryPoint"] for run in steps]
    assert entries == ["prepare", "tune", "early_stop", "report"]
    assert (prepare.data.metrics["rows"], prepare.data.metrics["train_rows"]) == (300, 210)
    assert report.data.params["study"] == f"{main_study.run.info.run_id},{limited.info.run_id}"
    assert all(run.info.run_id in report.data.tags["mlflow.note.content"] for run in (main_study.run, limited))
