"""What a served model costs, in one table that limits, pages and docs read."""

from __future__ import annotations

from mlflow_sysmetrics.metrics import SummaryMetric

METRICS = (
    SummaryMetric("served_cpu_ms", "ms", "CPU time of the server for a request of one row, the mean", scope="served"),
    SummaryMetric("served_p50_ms", "ms", "time to the answer to a request of one row: median", scope="served"),
    SummaryMetric(
        "served_p95_ms", "ms", "the same, 95th percentile; absent with fewer than 59 requests", scope="served"
    ),
    SummaryMetric(
        "served_p99_ms", "ms", "the same, 99th percentile; absent with fewer than 300 requests", scope="served"
    ),
    SummaryMetric("served_memory_mb", "MB", "RSS - SHR of the server after these requests", scope="served"),
    SummaryMetric(
        "served_cold_start_s", "s", "from the start of the server's process to its first answer", scope="served"
    ),
    SummaryMetric("served_rows_per_s", "1/s", "rows predicted a second, 100 in each request", scope="served"),
)
SERVED = tuple(metric.name for metric in METRICS)
