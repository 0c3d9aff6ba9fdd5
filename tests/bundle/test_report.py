"""The report entry point: which studies it reads, the run that it leaves, and what it says of mistakes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from commands import runs_of_kind
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from study_settings import parsed

from entrypoints.errors import UserError
from entrypoints.options import report_options
from entrypoints.report import report
from entrypoints.reporting.studies import Study
from entrypoints.runs import RecordedRun


@dataclass(frozen=True)
class Written:
    """Stands in for the module that writes a report, and remembers what it has been called with."""

    runs: list[RecordedRun] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)
    ranked_by: list[tuple[str | None, bool]] = field(default_factory=list)

    def write_stability(self, run: RecordedRun, studies: Sequence[Study]) -> None:
        """The same."""
        self.write_report(run, studies)

    write_comparison = write_stability

    def write_report(self, run: RecordedRun, studies: Sequence[Study]) -> None:
        """Remember it."""
        self.runs.append(run)
        self.studies.extend(study.run_id for study in studies)
        self.ranked_by.extend((study.score, study.higher_is_better) for study in studies)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """A report that writes nothing."""
    written = Written()
    for room in ("one_study", "stability", "comparison"):
        monkeypatch.setitem(sys.modules, f"entrypoints.reporting.{room}.report", written)
    return written


def _study(
    client: MlflowClient, dataset: str = "red_wine", metric: str = "val_rmse", kind: str | None = "study"
) -> str:
    """A finished study of one trial."""
    tags = {"sysmetrics.dataset": dataset} | ({"sysmetrics.kind": kind} if kind else {})
    study = str(client.create_run("0", tags=tags, run_name=f"tune {dataset}").info.run_id)
    trial = client.create_run("0", tags={"mlflow.parentRunId": study, "sysmetrics.kind": "trial"}).info.run_id
    client.log_batch(trial, [Metric(metric, 0.7, 0, 100)], [Param("dataset", dataset)], [RunTag("a", "b")])
    for run_id in (trial, study):
        client.set_terminated(run_id)
    return study


def _report(**options: str) -> Result:
    return CliRunner().invoke(report, [part for name, value in options.items() for part in (f"--{name}", value)])


def _run(client: MlflowClient) -> Run:
    """The one run of a report."""
    (run,) = runs_of_kind(client, "report")
    return run


def test_report_reads_the_newest_study_of_its_dataset(store_in_use: MlflowClient, written: Written) -> None:
    """And of no other, into a run that is named after it."""
    _study(store_in_use)
    newest = _study(store_in_use)
    _study(store_in_use, "diabetes")
    result = _report(dataset="red_wine")
    assert (result.exit_code, result.output) == (0, "")
    assert written.studies == [newest]
    run = _run(store_in_use)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "report red_wine")
    assert run.data.params == {"dataset": "red_wine", "study": "auto", "metric": "auto", "mode": "auto"}
    assert [each.run_id for each in written.runs] == [run.info.run_id]


def test_report_finds_the_study_of_a_file_by_its_path(
    store_in_use: MlflowClient, written: Written, tmp_path: Path
) -> None:
    """As the user types it: studies hold where it is."""
    path = tmp_path / "wine.csv"
    path.write_text("a,b\n")
    study = _study(store_in_use, str(path))
    assert _report(dataset="wine.csv").exit_code == 0
    assert written.studies == [study]
    assert _run(store_in_use).info.run_name == "report wine.csv"


@pytest.mark.parametrize(
    ("datasets", "name"),
    [
        pytest.param(["diabetes"], "report study {}", id="one"),
        pytest.param(["diabetes", "diabetes"], "report diabetes, 2 studies", id="one dataset"),
        pytest.param(["diabetes", "/data/mine.csv"], "report diabetes, mine.csv", id="several"),
    ],
)
def test_report_reads_the_studies_that_are_named(
    store_in_use: MlflowClient, written: Written, datasets: list[str], name: str
) -> None:
    """Whatever their dataset is, each once; its run is called by what it compares, and holds no dataset."""
    ids = [_study(store_in_use, dataset) for dataset in datasets]
    assert _report(study=", ".join([*ids, ids[0]])).exit_code == 0
    assert written.studies == ids
    run = _run(store_in_use)
    assert run.info.run_name == name.format(ids[0][:8])
    assert run.data.params == {"study": ",".join(ids), "metric": "auto", "mode": "auto"}


def test_report_keeps_the_name_that_the_user_chose(
    store_in_use: MlflowClient, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `mlflow run --run-name` gives it."""
    ids = [_study(store_in_use) for _ in range(2)]
    monkeypatch.setenv("MLFLOW_RUN_ID", store_in_use.create_run("0", run_name="mine").info.run_id)
    assert _report(study=",".join(ids)).exit_code == 0
    assert _run(store_in_use).info.run_name == "mine"


def test_report_ranks_another_script_s_trials_as_it_is_told(store_in_use: MlflowClient, written: Written) -> None:
    """By a metric and which of its values are better."""
    study = _study(store_in_use, metric="f1", kind=None)
    assert _report(study=study, metric="f1", mode="max").exit_code == 0
    assert _report(study=study).exit_code == 0
    assert written.ranked_by == [("f1", True), (None, False)]


def test_mistake_ends_the_report_s_run_with_its_sentence(store_in_use: MlflowClient, written: Written) -> None:
    """The run is FAILED and repeats what the terminal says."""
    result = _report(dataset="diabetes")
    run = _run(store_in_use)
    sentence = run.data.tags["sysmetrics.error"]
    assert sentence.startswith("dataset=diabetes: the experiment Default has no finished study of it; run mlflow run")
    assert (result.exit_code, result.output) == (1, f"Error: {sentence}\n")
    assert run.info.status == "FAILED"
    assert written.runs == []


def test_mistake_waits_for_nothing_heavy(store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What draws and computes is imported once the studies are there. What the command imports is in test_project."""
    for room in ("one_study", "stability", "comparison"):
        monkeypatch.setitem(sys.modules, f"entrypoints.reporting.{room}.report", None)  # its import would fail
    assert "Error: dataset=red_wine: " in _report().output
    _study(store_in_use)
    assert isinstance(_report().exception, ImportError)


def test_options_of_a_report_are_the_documented_defaults() -> None:
    """The newest studies of the default dataset."""
    assert parsed(options=report_options) == {"dataset": "red_wine", "study": None, "metric": "auto", "mode": "auto"}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        pytest.param("auto", None, id="auto"),
        pytest.param("a", ("a",), id="one"),
        pytest.param("b, a,b", ("b", "a"), id="several"),
    ],
)
def test_studies_are_ids_separated_by_commas(text: str, ids: tuple[str, ...] | None) -> None:
    """In the order in which they are given, each once."""
    assert parsed("--study", text, options=report_options)["study"] == ids


@pytest.mark.parametrize("text", ["", "a,", "a,,b", ","])
def test_study_without_an_id_is_a_mistake(text: str) -> None:
    """A comma too many may stand for one that was forgotten."""
    with pytest.raises(UserError) as error:
        parsed("--study", text, options=report_options)
    assert error.value.message.startswith(
        f"study={text}: auto or run ids separated by commas are allowed; leave it out"
    )
