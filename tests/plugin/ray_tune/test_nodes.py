"""Trials on other nodes of a cluster: where the package is there, where it is not, and where a node dies."""

from __future__ import annotations

from pathlib import Path

import pytest
from observations import Observations, observe

from mlflow_sysmetrics.host import Host

pytestmark = pytest.mark.slow
BOTH = ["elapsed_s", "peak_memory_mb"]


@pytest.fixture(scope="module")
def observed(new_store: Path) -> Observations:
    """What is seen of a trial here and of one on another node."""
    return observe("measured_nodes.py", str(new_store / "mlflow.db"))


def test_trial_on_another_node_is_measured_there(observed: Observations) -> None:
    """Each has its series, summary and host, both on this machine. What measured there ends with the experiment."""
    case = observed["with_the_package_to_the_end"]
    assert [case["error"], case["warnings"]] == [None, []]
    for run in case["runs"].values():
        assert (run["points"] > 0, run["summary"], run["facts"]) == (True, BOTH, Host().tags())
    assert case["actors"] == [1, 0]


def test_node_that_dies_is_said_and_holds_nobody_up(observed: Observations) -> None:
    """Its trial ends without a summary; the other has all of it."""
    runs, (warning,) = observed["with_the_package"]["runs"], observed["with_the_package"]["warnings"]
    assert "does not answer" in warning
    assert {key: (run["points"] > 0, run["summary"]) for key, run in runs.items()} == {
        "here": (True, BOTH), "there": (True, []),
    }  # fmt: skip


def test_node_without_the_package_is_told_how_to_get_it(observed: Observations) -> None:
    """Nothing of its process is read; it has its host and pid, and the one here all."""
    case = observed["without_the_package"]
    (warning,) = case["warnings"]
    assert "runtime_env={'py_modules': [mlflow_sysmetrics]}" in warning
    there, here = sorted(case["runs"].values(), key=lambda run: run["points"])
    assert (there["points"], there["summary"], there["facts"], there["has_host"]) == (0, [], {}, True)
    assert (here["points"] > 0, here["summary"]) == (True, BOTH)
