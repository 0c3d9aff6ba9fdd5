"""The default entry point: the steps of a study, one after the other."""

import os
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from commands import children, copy_store, invoke, runs_of_kind, store_uri
from mlflow import MlflowClient
from own_models import ALGORITHMS, OF_TABLE, write_own_models

from entrypoints.compute.own_modules import OF_STEPS
from entrypoints.main import main as main_command
from entrypoints.prepare import prepare
from entrypoints.tune import tune
from mlflow_sysmetrics.recording.tags import ERROR


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
    step, main = store_in_use.search_runs(["0"])  # the newest first
    assert step.data.tags["mlflow.project.entryPoint"] == "prepare"
    assert step.data.tags["mlflow.parentRunId"] == main.info.run_id
    for run, says in ((main, "prepare did not succeed"), (step, "dataset=nonsense")):
        assert run.info.status == "FAILED"
        assert says in run.data.tags[ERROR]
    assert f"Error: {main.data.tags[ERROR]}\n" in result.stderr


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
    given = {"folds": "3", "algorithm": "svm,my.Model", "space": '{"alpha": {"loguniform": [0.1, 1]}}'}
    given |= {"limits": "elapsed_s<=3", "register": "wine"}
    result = invoke(main_command, dataset="red_wine,diabetes", **given)
    assert result.exit_code == 0, result.output
    whole = {option.name: str(option.default) for option in tune.params} | given
    del whole["dataset"], whole["resume"]
    full = {name: text for name, text in whole.items() if name not in ("limits", "register")}
    of_data = {option.name: whole[option.name] for option in prepare.params if option.name in whole}
    expected = []
    for name in ("red_wine", "diabetes"):
        of = {"dataset": name}
        expected += [("prepare", of | of_data), ("tune", of | full), ("early_stop", of | whole)]
        expected += [("report", {"study": f"tune of {name},early_stop of {name}"})]
    expected += [("report", {"study": "tune of red_wine,tune of diabetes"})]
    assert ran == expected
    (main,) = store_in_use.search_runs(["0"])
    assert main.info.run_name == "main red_wine, diabetes"
    assert main.data.params == {"dataset": "red_wine,diabetes", **whole}


MLP = "sklearn.neural_network.MLPClassifier"
SPACE = """
batch_size: 32
alpha: [0.001, 0.01]
hidden_layer_sizes: [[4], [8, 4]]
"""


@pytest.mark.slow
def test_main_runs_its_steps_nested(new_store, run_project, tmp_path):
    """It prepares the rows that are asked for, searches twice, and reports on both searches.

    By `mlflow run` in a folder of the user, on a table and with algorithms of the user's own.
    """
    write_own_models(tmp_path)
    user = copy_store(new_store, tmp_path / "user")
    (user / "space.yaml").write_text(SPACE)
    given = {**OF_TABLE, "algorithm": ",".join(("logistic", MLP, *ALGORITHMS)), "space": "space.yaml"}
    command = run_project("main", user, **given, max_rows="300", folds="3", served="none")
    assert command.exit_code == 0, command.stderr
    client = MlflowClient(store_uri(user))
    (main,) = runs_of_kind(client, "main")
    (prepare,) = children(client, main, "prepare")
    limited, full = children(client, main, "study")
    (report,) = children(client, main, "report")
    for run, entry in ((prepare, "prepare"), (full, "tune"), (limited, "early_stop"), (report, "report")):
        assert run.data.tags["mlflow.project.entryPoint"] == entry
        assert run.info.status == "FINISHED"
    assert main.info.status == "FINISHED"
    assert prepare.data.metrics["rows"] == 300
    assert report.data.params["study"] == f"{full.info.run_id},{limited.info.run_id}"
