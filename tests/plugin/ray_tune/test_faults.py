"""Tune studies in which something breaks: what had been reported is stored, once, and the runs say what happened."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_table import KINDS, tried, wrong_with
from observations import Observations, observe

pytestmark = pytest.mark.slow
CASES = [(kind, fault) for kind in KINDS for fault in tried(kind)]


@pytest.fixture(scope="module")
def observed(new_store: Path) -> Callable[[str], Observations]:
    """What is left of a study with each fault, for one kind of trainable; observed once."""
    return functools.cache(lambda kind: observe("tune_faults.py", kind, str(new_store / "mlflow.db")))


@pytest.mark.parametrize(("kind", "fault"), CASES)
def test_study_in_which_something_breaks_is_whole_and_says_so(
    kind: str, fault: str, observed: Callable[[str], Observations]
) -> None:
    """What breaks is a trial, its process, the tracking server or the server's disk."""
    if fault == "disk_is_full" and os.geteuid() != 0:
        pytest.skip("needs root for a small disk of its own")
    assert wrong_with(fault, observed(kind)[fault]) == [], json.dumps(observed(kind)[fault])
