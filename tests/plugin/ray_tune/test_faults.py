"""A Tune study in which something breaks: no result lost that had been reported, nothing twice, no run left RUNNING."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from defect_table import OURS
from fault_table import FAULTS, KINDS, wrong_with
from observations import Observations, observe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=KINDS)
def observed(new_store: Path, request: pytest.FixtureRequest) -> Observations:
    """What is left of a study with each fault, for one kind of trainable."""
    return observe("tune_faults.py", OURS, request.param, str(new_store / "mlflow.db"))


@pytest.mark.parametrize("fault", FAULTS)
def test_study_in_which_something_breaks_is_whole_and_says_so(fault: str, observed: Observations) -> None:
    """What breaks is a trial, its process, the tracking server or the server's disk."""
    if fault == "disk_is_full" and not (sys.platform == "linux" and os.geteuid() == 0):
        pytest.skip("needs root for a small disk of its own")
    assert wrong_with(fault, observed[fault]) == [], json.dumps(observed[fault])
