"""A process that does what a test tells it, line by line."""

import subprocess
import sys
from contextlib import contextmanager

import psutil


class Child:
    """A Python process that runs one line of code for each line it is sent, and answers with one line."""

    LOOP = "import sys, time, os, resource, subprocess\nfor line in sys.stdin: exec(line); sys.stdout.flush()"

    def __init__(self, process):
        self.process, self.pid = process, process.pid

    def do(self, code):
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextmanager
def child():
    """Yield a started child that has answered once, and end it afterwards."""
    argv = [sys.executable, "-c", Child.LOOP]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            started = Child(process)
            assert started.do("print('ready')") == "ready"
            yield started
        finally:
            process.kill()


def has_ended(pid):
    """Whether a process has; perhaps nobody has asked yet how."""
    try:
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
