"""The defects of Ray's `MLflowLoggerCallback`, and what ours does there: `python benchmarks/stock_defects.py`.

Four minutes. The same sweeps (`tests/support/tune_defects.py`) run with the stock callback and with ours, each in a new
store. A row prints the defect, what was observed of either, and whether ours is right. Runs of both are counted by
status, with the study's run among ours; *losses* are the points of a metric in each trial's run. The exit code is 1 if
one of ours is wrong.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from defect_table import DEFECTS, OURS, STOCK, observe_all  # noqa: E402
from observations import Observations  # noqa: E402


def new_store(folder: Path) -> Path:
    """A store that holds nothing, to be copied."""
    file = folder / "empty.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


def show(stock: Observations, ours: Observations) -> int:
    """Print the table; how many rows of ours are wrong."""
    wrong = 0
    print("| # | defect | stock | ours | ours is right |\n|---|---|---|---|---|")
    for defect in DEFECTS:
        faults = defect.shown(ours)
        wrong += bool(faults)
        verdict = f"NO: {', '.join(faults)}" if faults else "yes"
        seen = "" if defect.shown(stock) else " (not seen)"
        cells = (defect.number, defect.title, defect.words(stock) + seen, defect.words(ours), verdict)
        print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)
    return wrong


def main() -> int:
    logging.disable(logging.INFO)  # of MLflow, which makes a store
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        empty = new_store(Path(folder))
        stock, ours = observe_all(STOCK, empty), observe_all(OURS, empty)
    wrong = show(stock, ours)
    print(f"{len(DEFECTS) - wrong} of {len(DEFECTS)} right, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
