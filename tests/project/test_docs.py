"""What the pages of docs/ tell to type is what MLflow takes, and what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import ROOT, copy_store, store_uri
from mlflow import MlflowClient

SCALE_OUT = (ROOT / "docs" / "scale-out.md").read_text()
FILTERS = [line for block in re.findall(r"```text\n(.*?)```", SCALE_OUT, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def client(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """Of a store with a trial that no filter but those of its own figures finds."""
    client = MlflowClient(store_uri(copy_store(new_store, tmp_path_factory.mktemp("store"))))
    run = client.create_run("0", tags={"mlflow.parentRunId": "s", "sysmetrics.feasible": "true"})
    client.log_metric(run.info.run_id, "val_rmse", 0.65)
    client.log_metric(run.info.run_id, "peak_memory_mb", 200.0)
    return client


@pytest.mark.parametrize("condition", FILTERS)
def test_filter_for_many_trials_is_one_that_mlflow_takes(client: MlflowClient, condition: str) -> None:
    """Beside the study's own condition."""
    found = client.search_runs(["0"], f"tags.mlflow.parentRunId = 's' and {condition}")
    assert len(found) == ("val_rmse" in condition or "feasible" in condition)


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_files_that_a_page_links_to_are_there(page: str) -> None:
    """And the scripts that it names."""
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("http") or (ROOT / page).parent.joinpath(link).exists(), link
    for script in re.findall(r"`(benchmarks/\w+\.py)`", text):
        assert (ROOT / script).exists(), script


def test_no_part_uses_ray_data() -> None:
    """As the page on departures says."""
    sources = [path for package in ("entrypoints", "mlflow_sysmetrics") for path in (ROOT / package).rglob("*.py")]
    assert [path for path in sources if re.search(r"\bray\.data\b|from ray import .*\bdata\b", path.read_text())] == []
