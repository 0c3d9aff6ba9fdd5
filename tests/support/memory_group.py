"""A control group of this machine with little memory, in which the kernel kills whoever takes more."""

import contextlib
import os
from pathlib import Path

LIMIT = "60000000"  # bytes


@contextlib.contextmanager
def memory_group():
    """Make one, of either version, for a while. OSError where none can be made."""
    one, two = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    place, limit, swap, no_swap = (
        (one, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", LIMIT)
        if one.is_dir()
        else (two, "memory.max", "memory.swap.max", "0")
    )
    group = place / f"sysmetrics-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / limit).write_text(LIMIT)
        with contextlib.suppress(OSError):
            (group / swap).write_text(no_swap)
        yield group
    finally:
        group.rmdir()
