"""The default entry point: the steps of a study, one after the other."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from commands import RunProject, children, runs_of_kind, store_uri
from mlflow import MlflowClient

from entrypoints.main import main as main_command
from entrypoints.own_modules import OF_STEPS


def test_main_ends_with_the_first_step_that_fails(
    store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A dataset that prepare does not know ends main: tune is not tried, both runs are FAILED and say why."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_in_use.tracking_uri)
    result = CliRunner().invoke(main_command, ["--dataset", "nonsense"])
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


def test_main_studies_datasets_in_turn_and_then_compares_them(
    store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step gets what it takes, and the reports the studies of this command by their ids."""
    ran = list[tuple[str, dict[str, str]]]()

    def run(uri: str, entry_point: str, parameters: dict[str, str], **options: object) -> SimpleNamespace:
        assert os.environ[OF_STEPS] == str(Path.cwd())
        ran.append((entry_point, parameters))
        return SimpleNamespace(run_id=f"{entry_point} of {parameters.get('dataset')}")

    monkeypatch.setattr(mlflow.projects, "run", run)
    of_data = {"target": "a", "max_rows": "500", "folds": "3", "seed": "7"}
    of_search = {"algorithm": "svm,my.Model", "space": '{"batch_size": [8], "alpha": {"loguniform": [0.1, 1]}}'}
    given = of_data | of_search | {"criteria": "elapsed_s<=3"}
    line = [part for name, value in given.items() for part in (f"--{name}", value)]
    result = CliRunner().invoke(main_command, ["--dataset", "red_wine,diabetes", *line])
    assert result.exit_code == 0, result.output
    expected: list[tuple[str, dict[str, str]]] = []
    for name in ("red_wine", "diabetes"):
        of = {"dataset": name, **of_data}
        expected += [
            ("prepare", of),
            ("tune", of | of_search),
            ("early_stop", of | of_search | {"criteria": "elapsed_s<=3"}),
        ]
        expected += [("report", {"study": f"tune of {name},early_stop of {name}"})]
    assert ran == [*expected, ("report", {"study": "tune of red_wine,tune of diabetes"})]
    assert OF_STEPS not in os.environ
    (main,) = runs_of_kind(store_in_use, "main")
    assert main.info.run_name == "main red_wine, diabetes"
    assert main.data.params == {"dataset": "red_wine,diabetes", **given}


@pytest.mark.slow
def test_main_runs_its_steps_nested(run_project: RunProject, tmp_path: Path) -> None:
    """With a table, its target and a module beside the user, main prepares, searches twice and reports."""
    numbers = np.random.default_rng(0).normal(size=(24, 3))
    table = pd.DataFrame({"length": numbers[:, 0], "width": numbers[:, 1], "price": numbers @ [1.0, -2.0, 0.3]})
    table.to_csv(tmp_path / "prices.csv", index=False)
    (tmp_path / "mine.py").write_text(
        "from sklearn.linear_model import SGDRegressor\n\nclass Mine(SGDRegressor): ...\n"
    )
    (tmp_path / "space.yaml").write_text("batch_size: [4, 8]\neta0: [0.01, 0.001]\n")
    given = {"dataset": "prices.csv", "target": "price", "algorithm": "mine.Mine", "space": "space.yaml"}
    command = run_project("main", tmp_path, folds="3", **given)
    assert command.exit_code == 0, command.stderr
    client = MlflowClient(store_uri(tmp_path))
    (main,) = runs_of_kind(client, "main")
    (prepare,), (report,) = children(client, main, "prepare"), children(client, main, "report")
    limited, full = children(client, main, "study")
    assert [run.info.status for run in (main, prepare, full, limited, report)] == ["FINISHED"] * 5
    steps = [run.data.tags["mlflow.project.entryPoint"] for run in (prepare, full, limited, report)]
    assert steps == ["prepare", "tune", "early_stop", "report"]
    assert command.stdout.count(f"prepared before in run {prepare.info.run_id}\n") == 2
    assert len(children(client, full, "trial")) == full.data.metrics["trials"] == 4
    assert report.data.params["study"] == f"{full.info.run_id},{limited.info.run_id}"
    assert all(run.info.run_id in report.data.tags["mlflow.note.content"] for run in (full, limited))
