"""A report by the command, on studies in the store that is in use, and what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from click.testing import CliRunner
from commands import runs_of_kind
from mlflow import MlflowClient
from mlflow.artifacts import load_dict

from entrypoints.report import report


@dataclass(frozen=True)
class Reported:
    """A report's run: its name, its page, its tables as they are logged, its figures' names, and what was echoed."""

    name: str
    page: str
    tables: dict[str, pd.DataFrame]
    figures: set[str]
    echoed: str


def report_on(client: MlflowClient, studies: Sequence[str]) -> Reported:
    """Run the command on these studies. It must succeed, and be the newest report in the store."""
    result = CliRunner().invoke(report, ["--study", ",".join(studies)])
    assert result.exit_code == 0, result.output
    run = runs_of_kind(client, "report")[0]
    files = [file.path for file in client.list_artifacts(run.info.run_id) if file.path.endswith(".json")]
    logged = {file.removesuffix(".json"): load_dict(f"{run.info.artifact_uri}/{file}") for file in files}
    return Reported(
        str(run.info.run_name),
        run.data.tags["mlflow.note.content"],
        {name: pd.DataFrame(table["data"], columns=table["columns"]) for name, table in logged.items()},
        {Path(each.path).stem for each in client.list_artifacts(run.info.run_id, "figures")},
        result.output,
    )
