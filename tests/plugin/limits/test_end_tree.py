"""Ending a tree of real processes, whatever they do about it."""

import subprocess
import sys

import psutil
import pytest
from cases import cases
from machines import has_ended

from mlflow_sysmetrics.limits import end_tree

BEGIN = """
import os, psutil, signal, subprocess, sys, time
from mlflow_sysmetrics.limits import end_tree
def start_deaf():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    signal.signal(signal.SIGTERM, before)
    print(child, flush=True)
"""
# At SIGTERM it starts another process, and goes on.
HYDRA = """
signal.signal(signal.SIGTERM, lambda number, frame: (start_deaf(), time.sleep(60)))
print(os.getpid(), flush=True)
time.sleep(60)
"""
# Its child ignores SIGTERM, and starts another such process once the parent is gone: that is below nothing of before.
ORPHAN = """
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, str(os.getpid())])
    time.sleep(60)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
while os.getppid() == int(sys.argv[1]):
    time.sleep(0.01)
start_deaf()
time.sleep(60)
"""
SELF = """
start_deaf()
end_tree(psutil.Process(), grace_s=0.5)
"""


@pytest.fixture
def start_program(tmp_path):
    """Starts a program, which is killed with the test."""
    programs = []

    def start(source):
        path = tmp_path / "program.py"
        path.write_text(BEGIN + source)
        programs.append(subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True))
        return programs[-1]

    yield start
    for program in programs:
        with program:
            for process in psutil.Process(program.pid).children(recursive=True) if program.poll() is None else []:
                process.kill()
            program.kill()


def heard(program):
    """The next process id that a program says."""
    return int(program.stdout.readline())


@cases("source, code", {"root": (HYDRA, -9), "child": (ORPHAN, -15)})
def test_process_that_starts_meanwhile_is_ended_too(start_program, source, code):
    """By SIGKILL, as the one that started it when it, or its parent, was asked to end."""
    program = start_program(source)
    process, first = psutil.Process(program.pid), heard(program)
    assert end_tree(process, grace_s=1.0)
    assert has_ended(first)
    assert has_ended(heard(program))
    assert program.communicate()[0] == "", "it was asked once"
    assert program.returncode == code  # whoever started it hears how it ended
    assert end_tree(process), "one that has ended, whose number may be another's by now, is not an error"


def test_process_that_ends_itself_ends_those_below_it_first(start_program):
    """Also one that ignores SIGTERM, after the grace; then itself."""
    program = start_program(SELF)
    child = heard(program)
    assert program.wait(30) == -15
    assert has_ended(child)
