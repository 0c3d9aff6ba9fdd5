"""`mlflow-sysmetrics views`: a page of what runs cost, ready in the UI, or one sentence on why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from saved_views import listed

from mlflow_sysmetrics.command.cli import main


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Settings of the command, which keeps what is set already, and the store in use, as they were before."""
    for name in ("MLFLOW_LOGGING_LEVEL", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"):
        monkeypatch.setenv(name, "true" if "URL" in name else "WARNING")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    yield monkeypatch
    mlflow.set_tracking_uri(before)


def measured(client: MlflowClient, experiment_id: str) -> None:
    """Add a run that knows what it has cost."""
    run = client.create_run(experiment_id)
    client.log_metric(run.info.run_id, "elapsed_s", 2.0, step=0)


def views(*arguments: str) -> Result:
    """What the command says."""
    return CliRunner().invoke(main, ["views", *arguments])


def refusal(*arguments: str) -> str:
    """The one sentence with which the command is refused."""
    result = views(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)  # no traceback
    (line,) = result.output.splitlines()
    return line


def test_views_of_all_experiments_with_such_runs_are_saved(store_in_use: MlflowClient, given: object) -> None:
    """Each with its link, under the experiment's name; an experiment without such runs is left out."""
    for name in ("night", "day", "empty"):
        experiment_id = store_in_use.create_experiment(name)
        if name != "empty":
            measured(store_in_use, experiment_id)
    result = views()
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert sorted(lines[::2]) == ['day, view "What runs cost":', 'night, view "What runs cost":']
    for heading, link in zip(lines[::2], lines[1::2], strict=True):
        experiment = store_in_use.get_experiment_by_name(heading.partition(",")[0])
        assert experiment is not None
        (view,) = listed(store_in_use, experiment.experiment_id).values()
        assert view.name == "What runs cost"
        assert link.strip().startswith(f"#/experiments/{experiment.experiment_id}/runs?")
        assert f"viewStateShareKey={view.id}&" in link


def test_experiments_on_all_pages_are_looked_at(store_in_use: MlflowClient, given: pytest.MonkeyPatch) -> None:
    """MLflow lists a thousand at a time; here one."""
    for name in ("night", "day"):
        measured(store_in_use, store_in_use.create_experiment(name))
    given.setattr(MlflowClient, "search_experiments", partialmethod(MlflowClient.search_experiments, max_results=1))
    result = views()
    assert result.exit_code == 0
    assert sorted(result.output.splitlines()[::2]) == ['day, view "What runs cost":', 'night, view "What runs cost":']


def test_view_of_one_experiment_is_saved(store_in_use: MlflowClient, given: object) -> None:
    """The one that is named, and no other."""
    for name in ("night", "day"):
        measured(store_in_use, store_in_use.create_experiment(name))
    result = views("--experiment-name", "night")
    assert (result.exit_code, len(result.output.splitlines())) == (0, 2)
    night, day = (store_in_use.get_experiment_by_name(name) for name in ("night", "day"))
    assert night is not None
    assert day is not None
    assert (len(listed(store_in_use, night.experiment_id)), len(listed(store_in_use, day.experiment_id))) == (1, 0)


def test_page_of_an_older_mlflow_is_not_called_a_view(store_in_use: MlflowClient, given: pytest.MonkeyPatch) -> None:
    """Its link shows the same runs all the same. The UI of a database is that of the MLflow that is installed here."""
    experiment_id = store_in_use.create_experiment("night")
    measured(store_in_use, experiment_id)
    given.setattr(mlflow, "__version__", "3.16.1")
    result = views()
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "night, page (no view could be saved on this server):"
    assert f"#/experiments/{experiment_id}/runs?" in result.output
    assert "viewStateShareKey" not in result.output
    assert listed(store_in_use, experiment_id) == {}


def test_experiment_that_does_not_exist_is_refused_in_a_sentence(store_in_use: MlflowClient, given: object) -> None:
    """Which says how to find those that do."""
    assert refusal("--experiment-name", "nigth").endswith(
        "there is no experiment nigth; `mlflow experiments search` lists them"
    )


@pytest.mark.parametrize(
    ("arguments", "where"),
    [([], "no run of any experiment at"), (["--experiment-name", "Default"], "no run of experiment Default at")],
    ids=["all", "one"],
)
def test_runs_without_such_figures_are_refused_in_a_sentence(
    store_in_use: MlflowClient, given: object, arguments: list[str], where: str
) -> None:
    """Which says what records some."""
    run = store_in_use.create_run("0")
    store_in_use.log_metric(run.info.run_id, "loss", 1.0)
    said = refusal(*arguments)
    assert said.startswith(f"Error: {where} sqlite://")
    assert "`mlflow-sysmetrics run`" in said


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        pytest.param("sqlite:///{folder}/text.db", "file is not a database", id="not a database"),
        pytest.param("http://me:hush42@127.0.0.1:9", "127.0.0.1", id="nobody answers"),
        pytest.param("nothing://here", "unknown kind of store; use the address of a", id="unknown kind"),
        pytest.param("nodriver+odd://me:hush42@here/x", "unknown kind of store", id="unknown database"),
        pytest.param("postgresql+nodriver://me:hush42@127.0.0.1/x", "nodriver", id="no driver"),
        pytest.param("http://me:hush#42@here", "write special characters of the password as %XX", id="odd password"),
    ],
)
def test_store_that_cannot_be_read_is_refused_in_a_sentence(
    given: pytest.MonkeyPatch, tmp_path: Path, uri: str, says: str
) -> None:
    """Without a traceback, and without the password of its address."""
    (tmp_path / "text.db").write_text("this is a text\n" * 100)
    mlflow.set_tracking_uri(uri.format(folder=tmp_path))
    said = refusal()
    assert said.startswith("Error: no view could be saved at ")
    assert says in said
    assert "hush" not in said
