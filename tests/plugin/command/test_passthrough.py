"""A command in this process's place: input, output, signals and the end are the command's own."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys

import psutil
import pytest
from cases import cases
from commands import ROOT, heed_interrupts

LIMIT_S = 300.0
WRAPPER = """
import os, sys
from mlflow_sysmetrics.command.passthrough import Passthrough, end_as
with Passthrough() as passthrough:
    process = passthrough.start(sys.argv[1:], os.environ)
    passthrough.wait(process)
    ended = passthrough.reap(process)
end_as(ended)
"""
# Says when it is ready, writes the signals that it gets, and ends at the line "end" of its input.
LISTENER = """
import os, signal, sys, threading

def say(line):
    os.write(1, line.encode() + b"\\n")

def hear():
    for line in sys.stdin:
        if line == "end\\n":
            break
        say("heard " + line.strip())
    os._exit(9)

all_four = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
heeded = {number for number in all_four if signal.getsignal(number) is not signal.SIG_IGN}
signal.pthread_sigmask(signal.SIG_BLOCK, heeded)
threading.Thread(target=hear).start()
say("ready")
while True:
    say(signal.sigwait(heeded).name)
"""


@pytest.fixture
def wrapped():
    """Start a command, wrapped, with pipes or what else is given; end it with the test."""
    started = []

    def start(*command, **options):
        usual = {"stdin": subprocess.PIPE, "preexec_fn": heed_interrupts}
        line = [sys.executable, "-c", WRAPPER, *command]
        process = subprocess.Popen(line, cwd=ROOT, text=True, stdout=subprocess.PIPE, **(usual | options))
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.communicate(timeout=LIMIT_S)


def listen(start, **options):
    """A wrapped listener that is ready for signals."""
    process = start(sys.executable, "-c", LISTENER, **options)
    assert said(process) == "ready"
    return process


def said(process):
    """The next line of the wrapped command's output."""
    assert select.select([process.stdout], [], [], LIMIT_S)[0], "nothing was said"
    return process.stdout.readline().strip()


@cases(
    "script, code",
    [
        ("exit 7", 7),
        ("kill -INT $$", -signal.SIGINT),
        ("kill -KILL $$", -signal.SIGKILL),
    ],
)
def test_end_is_the_end_of_the_command(wrapped, script, code):
    """Whoever waits for the wrapper sees the same exit code, or the same signal, as of the command alone."""
    assert wrapped("sh", "-c", script).wait(LIMIT_S) == code


def test_further_files_are_the_commands(wrapped, tmp_path):
    """A file that the wrapper was given open, as by <(...) in a shell, is open in the command."""
    (tmp_path / "input").write_text("from a file")
    with (tmp_path / "input").open() as file:
        process = wrapped("sh", "-c", f"cat /dev/fd/{file.fileno()}", pass_fds=[file.fileno()])
        assert process.communicate(timeout=LIMIT_S)[0] == "from a file"


def test_signal_for_the_wrapper_reaches_the_command_once(wrapped):
    """The command alone decides what a signal does: here it goes on, answers, and ends as it likes."""
    process = listen(wrapped)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        process.send_signal(number)
        assert said(process) == number.name
    assert process.communicate("still there\nend\n", timeout=LIMIT_S)[0] == "heard still there\n"
    assert process.returncode == 9


def test_signal_that_is_ignored_is_ignored_by_the_command_too(wrapped):
    """Under nohup a hangup ends neither of the two."""
    process = listen(wrapped, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    assert process.communicate("end\n", timeout=LIMIT_S)[0] == ""
    assert process.returncode == 9


def test_keys_in_a_terminal_reach_the_command_once(wrapped):
    """The terminal sends Ctrl-C to both; the wrapper does not send it again."""
    ours, theirs = pty.openpty()

    def become_foreground():
        heed_interrupts()
        os.setsid()
        os.close(os.open(os.ttyname(theirs), os.O_RDWR))  # the first terminal that a session opens is its own

    process = listen(wrapped, stdin=theirs, preexec_fn=become_foreground, pass_fds=[theirs])
    os.close(theirs)
    os.write(ours, b"\x03")
    assert said(process) == "SIGINT"
    process.send_signal(signal.SIGUSR1)  # which the wrapper hands on after what it got before
    assert said(process) == "SIGUSR1"
    os.write(ours, b"anything else\nend\n")
    assert process.communicate(timeout=LIMIT_S)[0] == "heard anything else\n"
    assert process.returncode == 9
    os.close(ours)
