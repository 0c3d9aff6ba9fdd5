"""The accounts of a tree alone, fed with readings."""

from mlflow_sysmetrics.sampling.accounts import CpuAccount
from mlflow_sysmetrics.sampling.one_process import Reading


def reading(cpu_s, system_s):
    """Of a process that holds no memory."""
    return Reading(0.0, False, cpu_s, 0.0, system_s, {}, {})


def test_user_and_system_time_are_of_one_sum_though_the_kernel_counts_them_apart():
    """What the system's count is ahead waits: neither falls, and the two are all the CPU time."""
    account = CpuAccount()
    shown, before = [], {}
    for cpu_s, system_s in ((5.0, 2.0), (5.0, 2.1), (6.0, 2.35)):
        now = {"a": reading(cpu_s, system_s)}
        account.add(now, before, elapsed_s=0.1, look_every_s=0.5)
        before = now
        shown.append((round(account.user_s, 6), round(account.system_s, 6)))
    assert shown == [(0.0, 0.0), (0.0, 0.0), (0.65, 0.35)]
