"""What is left of a Tune study in which something breaks: `python benchmarks/faults.py`, about five minutes.

Each fault hits a small study in its course. A row prints what was done, how many results had been reported, how many of
them the store has in the end, how many results and runs it has twice, how many runs are left RUNNING, and what the runs
say: statuses of the trials, their errors, and the study's own words. The exit code is 1 if a reported result is lost,
anything is there twice, or a run is left RUNNING.
"""

import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from observations import observe  # noqa: E402
from tune_faults import FAULTS, wrong_with  # noqa: E402


def row(*cells):
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def show(case, observed):
    """Print a row; whether it is right."""
    wrong = wrong_with(case, observed)
    counts = [observed.get(name, "?") for name in ("reported", "stored", "twice", "running")]
    statuses = ", ".join(f"{number} {status}" for status, number in Counter(observed.get("trials", ())).items())
    says = "; ".join([statuses, *observed.get("says", ())])
    row(case.replace("_", " "), FAULTS[case].__doc__, *counts, says, f"NO: {', '.join(wrong)}" if wrong else "yes")
    return not wrong


def main():
    logging.disable(logging.INFO)  # of MLflow, which makes a store
    row("fault", "what was done", "reported", "in the store", "twice", "left RUNNING", "what the runs say", "right")
    row(*["---"] * 8)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.db"
        MlflowClient(f"sqlite:///{empty}").search_experiments()
        right = [show(case, observed) for case, observed in observe("tune_faults.py", str(empty)).items()]
    print(f"{sum(right)} of {len(right)} right")
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
