"""Forked children of the tests' own process."""

import os
import signal

FORK_TIMEOUT_S = 120


def in_fork(child):
    """The exit code of a forked child that calls this, 1 for what is true; 99 if it raises, -SIGALRM if it hangs."""
    return os.waitstatus_to_exitcode(os.waitpid(start_fork(child), 0)[1])


def start_fork(child):
    """The id of such a child, which somebody has to wait for."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(FORK_TIMEOUT_S)
        try:
            os._exit(int(bool(child())))
        finally:
            os._exit(99)
    return pid
