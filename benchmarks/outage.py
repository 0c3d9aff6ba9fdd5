"""What outages of the tracking server cost: `python benchmarks/outage.py`, about two minutes.

A real `mlflow server` behind a proxy that fails in one way after the other. Each run takes 20 numbered readings a
second: for 2 s the server works, for 4 s it fails; then either it works again and the run goes on for 3 s, or the run
ends while it still fails and two syncs follow. *Delivered* are readings that the store's windows hold at the end,
*twice* windows that it has more than once. *Longest hold* is the longest call of the training thread into the logger
(start, and both ends of each of some thousand steps), without the time in which the kernel ran other threads instead.
*Stop* has a bound of 5 s.
"""

import logging
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

from fault_proxy import FAULTS, FaultProxy  # noqa: E402
from outages import log_through  # noqa: E402
from tracking_server import tracking_server  # noqa: E402

TITLES = ("fault", "then", "samples", "delivered", "twice", "lost", "longest hold", "stop")
WIDTHS = (8, 18, 9, 11, 7, 6, 14, 8)


def row(*cells):
    print("".join(f"{cell!s:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)), flush=True)


def show(outcome, then):
    counts = (outcome.taken, outcome.delivered, outcome.duplicated, outcome.lost)
    row(outcome.fault, then, *counts, f"{outcome.longest_hold_ms:.1f} ms", f"{outcome.stop_s:.2f} s")


def main():
    logging.disable(logging.WARNING)
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with tracking_server(folder) as port, FaultProxy(port) as proxy:
            row(*TITLES)
            for fault in FAULTS:
                for then, recovered_s in (("recovers", 3.0), ("run ends, 2 syncs", 0.0)):
                    journals = folder / f"{fault}-{recovered_s}"
                    outcomes.append(
                        log_through(proxy, fault, journals, healthy_s=2.0, failing_s=4.0, recovered_s=recovered_s)
                    )
                    show(outcomes[-1], then)
    longest_ms = max(outcome.longest_hold_ms for outcome in outcomes)
    whole = all(outcome.is_whole for outcome in outcomes)
    print(
        f"every sample exactly once and in order: {'yes' if whole else 'NO'}; longest hold {longest_ms:.1f} ms (< 20)"
    )
    return 0 if whole and longest_ms < 20 else 1


if __name__ == "__main__":
    sys.exit(main())
