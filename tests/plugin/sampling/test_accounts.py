"""The accounts of a tree alone, fed with readings."""

from __future__ import annotations

from mlflow_sysmetrics.sampling.accounts import CpuAccount, PeakRss
from mlflow_sysmetrics.sampling.one_process import Reading


def reading(cpu_s: float = 0.0, system_s: float = 0.0, high_water_mb: float | None = None) -> Reading:
    """Of a process that holds 50 MB."""
    levels = {"process_memory_mb": 50.0, "process_rss_mb": 50.0}
    return Reading(0.0, False, cpu_s, 0.0, system_s, levels, {}, high_water_mb)


def test_user_and_system_time_are_of_one_sum_though_the_kernel_counts_them_apart() -> None:
    """What the system's count is ahead waits: neither falls, and the two are all the CPU time."""
    account = CpuAccount()
    shown, before = [], dict[str, Reading]()
    for cpu_s, system_s in ((5.0, 2.0), (5.0, 2.1), (6.0, 2.35)):
        now = {"a": reading(cpu_s, system_s)}
        account.add(now, before, elapsed_s=0.1, look_every_s=0.5)
        before = now
        shown.append((round(account.user_s, 6), round(account.system_s, 6)))
    assert shown == [(0.0, 0.0), (0.0, 0.0), (0.65, 0.35)]


def test_peak_is_one_since_the_first_reading_that_has_a_mark() -> None:
    """A process that had 90 MB before may have come near it again: nothing tells, until it has more."""
    account, peaks = PeakRss(), []
    for high_water_mb in (None, 90.0, None, 90.0, 95.0, None):
        account.add({"a": reading(high_water_mb=high_water_mb)})
        peaks.append(account.mb)
    assert peaks == [None, None, None, None, 95.0, 95.0]
