"""Two studies at once on an `mlflow server` with PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import STUDY, Study
from postgres_server import binaries, postgres
from two_studies import CURVES, two_studies

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed: apt-get install postgresql"),
]

RATES = ("0.01", "0.001")  # of those that the study has, too
SPACE = "{batch_size: [2, 256], learning_rate: [0.01, 0.001], alpha: 0.001}"


def test_two_studies_at_once_leave_all_that_one_alone_leaves(tmp_path: Path, study: Study) -> None:
    """Every run has ended, each has every point of its curves once, and no transaction has been given up."""
    pytest.importorskip("psycopg2")
    with postgres() as server:
        left = two_studies(tmp_path, server.uri, **STUDY | {"space": SPACE, "cpus": "1"})
        deadlocks = server.ask("select deadlocks from pg_stat_database where datname = 'postgres'")
    trials = [run for run in study.trials if run.data.params["learning_rate"] in RATES]
    alone = {(run.data.tags["mlflow.runName"], curve): study.values(run, curve) for run in trials for curve in CURVES}
    assert left.exit_codes == [0, 0]
    assert left.curves == [alone, alone]
    assert left.statuses == {"FINISHED": 2 + 2 * len(trials)}
    assert (left.twice, deadlocks, left.server_errors) == (0, "0", [])
    assert left.series_points >= 2 * len(trials)
