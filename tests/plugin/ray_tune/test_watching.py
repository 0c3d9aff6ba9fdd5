"""Processes on the nodes of a real cluster, watched where they are, with and without the package there."""

from __future__ import annotations

from pathlib import Path

import pytest
from defect_table import OURS
from observations import Observations, Observed, observe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def observed(new_store: Path) -> Observations:
    """What is seen of a process here and of one on a node that dies."""
    return observe("watched_nodes.py", OURS, str(new_store / "mlflow.db"))


@pytest.fixture
def with_package(observed: Observations) -> Observed:
    """Where the package is on both nodes."""
    assert "broken" not in observed["nodes_with_the_package"], observed
    return observed["nodes_with_the_package"]


@pytest.fixture
def without_package(observed: Observations) -> Observed:
    """Where it is here alone."""
    assert "broken" not in observed["nodes_without_the_package"], observed
    return observed["nodes_without_the_package"]


def test_process_on_another_node_is_read_there(with_package: Observed) -> None:
    """Each has its series, the host and the pid."""
    assert with_package["nodes"] == 2
    assert with_package["points"]["here"] > 0
    assert with_package["points"]["there"] > 0
    assert with_package["hosts"] == {"here": True, "there": True}


def test_node_that_dies_is_said_and_holds_nobody_up(with_package: Observed) -> None:
    """Its process ends without figures, and at once; the other has all of them."""
    (warning,) = with_package["warnings"]
    assert "does not answer" in warning
    assert with_package["ended"] == {"here": True, "there": True}
    assert with_package["figures"]["there"] == {}
    assert {"elapsed_s", "peak_memory_mb", "memory_growth_mb"} <= with_package["figures"]["here"].keys()


def test_node_without_the_package_is_told_how_to_get_it(without_package: Observed) -> None:
    """Nothing of its process is read; it has its host and pid, and the one here all."""
    (warning,) = without_package["warnings"]
    assert "runtime_env={'py_modules': [mlflow_sysmetrics]}" in warning
    assert without_package["points"].get("there", 0) == 0
    assert without_package["hosts"] == {"here": True, "there": True}
    assert without_package["ended"] == {"here": True, "there": True}
    assert "peak_memory_mb" in without_package["figures"]["here"]
