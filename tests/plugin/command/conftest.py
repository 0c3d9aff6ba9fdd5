"""Programs under `mlflow-sysmetrics run`, started from this process, with a store of the test's own."""

import os

import pytest
from commands import ROOT

from mlflow_sysmetrics.command.program import MeasuredProgram
from mlflow_sysmetrics.command.run import run_command


@pytest.fixture
def record(store_in_use):
    """Run a command to its end and record it; options are those of `run_command`, and `limits`."""

    def record(*command, limits="", **options):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return run_command(command, environment, MeasuredProgram(limits), **options)

    return record


@pytest.fixture
def all_runs(store_in_use):
    """The runs of all experiments."""

    def all_runs():
        experiments = [each.experiment_id for each in store_in_use.search_experiments()]
        return list(store_in_use.search_runs(experiments))

    return all_runs
