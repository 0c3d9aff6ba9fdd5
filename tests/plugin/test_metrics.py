"""The table of metrics: how summaries of several processes become one, and that docs/metrics.md shows it."""

import re

from cases import cases
from commands import ROOT

from mlflow_gate import metrics as gate
from mlflow_sysmetrics.metrics import METRICS, combined_in_turn, mean_of_splits

FIRST = {"elapsed_s": 10.0, "cpu_seconds": 10.0, "mean_cpu_percent": 100.0, "peak_memory_mb": 300.0, "read_mb": 1.0}
SECOND = {"elapsed_s": 30.0, "cpu_seconds": 10.0, "mean_cpu_percent": 33.0, "peak_memory_mb": 200.0, "read_mb": 2.0}


@cases(
    "stretches, summary",
    {
        "two": (
            [FIRST, SECOND],
            {"elapsed_s": 40.0, "cpu_seconds": 20.0, "mean_cpu_percent": 50.0, "peak_memory_mb": 300.0, "read_mb": 3.0},
        ),
        "some lack most": (
            [{"elapsed_s": 1.0}, FIRST, {"elapsed_s": 2.0, "peak_gpu_memory_mb": 50.0}],
            {"elapsed_s": 13.0, "peak_memory_mb": 300.0, "peak_gpu_memory_mb": 50.0},
        ),
        "one is not known": ([FIRST, None], {}),
    },
)
def test_summary_of_processes_that_follow_each_other_add_up(stretches, summary):
    """Times and what is read do; memory is that of the largest; the rest would not be of the whole work."""
    assert combined_in_turn(stretches) == summary


def test_summary_of_one_fit_is_the_mean_over_splits_and_of_memory_the_highest():
    """CPU use is that of all together: 20 s in 40 s."""
    costs = {"elapsed_s": 20.0, "cpu_seconds": 10.0, "mean_cpu_percent": 50.0, "peak_memory_mb": 300.0, "read_mb": 1.5}
    assert mean_of_splits([FIRST, SECOND]) == costs


def test_docs_show_the_table():
    """Each metric, and so each that a limit can name, with its unit and its meaning."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (s|ms|MB|%|count|1/s) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(metric.name, metric.unit, metric.meaning) for metric in (*METRICS, *gate.METRICS)]
