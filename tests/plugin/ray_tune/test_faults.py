"""Tune studies in which something breaks: what had been reported is stored, once, and the runs say what happened."""

import json

import pytest
from observations import observe
from tune_faults import FAULTS, wrong_with

from mlflow_sysmetrics.host import Host

pytestmark = pytest.mark.slow
BOTH = ["elapsed_s", "peak_memory_mb"]


@pytest.fixture(scope="module")
def observed(new_store):
    """What is left of a study with each fault."""
    return observe("tune_faults.py", str(new_store / "mlflow.db"))


@pytest.mark.parametrize("fault", FAULTS)
def test_study_in_which_something_breaks_is_whole_and_says_so(fault, observed):
    """What breaks is a trial, its process, its node, or the tracking server."""
    assert wrong_with(fault, observed[fault]) == [], json.dumps(observed[fault])


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.startswith("node_")])
def test_node_that_dies_costs_its_trial_the_summary(fault, observed):
    """That begins again, also where it may not fail. Those on other nodes have all, and what measured them is gone."""
    case = observed[fault]
    lost, *others = sorted(case["runs"], key=lambda run: len(run["summary"]))
    assert (case["trials"], lost["summary"]) == (["FINISHED"] * 3, [])
    for run in others:
        assert (run["points"] > 0, run["summary"], run["host"]) == (True, BOTH, Host().tags())
    assert "measuring the processes of node" in "".join(case["warnings"])
    assert case["measuring_still"] == 0


def test_node_without_the_package_is_told_how_to_get_it(observed):
    """Nothing of its process is read; it has its place, and the one here all."""
    case = observed["nodes_lack_the_package"]
    assert case["warnings"]
    assert all("runtime_env={'py_modules': [mlflow_sysmetrics]}" in said for said in case["warnings"])
    *there, here = sorted(case["runs"], key=lambda run: run["points"])
    for run in there:
        assert (run["points"], run["summary"], run["host"], run["is_placed"]) == (0, [], {}, True)
    assert (here["points"] > 0, here["summary"]) == (True, BOTH)
