"""Real `mlflow ...` processes, and ours, forked from one that has imported MLflow, which takes seconds of CPU."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["mlflow.cli"])


class WarmProcess:
    """A running `mlflow`, `mlflow-sysmetrics` or `python -c` command, to be used as a `subprocess.Popen`.

    Args:
        line: the command and its arguments.
        cwd: the folder that it runs in.
        env: its whole environment.
        stdout: the file that it appends to.
        stderr: the same.
    """

    def __init__(self, line, *, cwd, env, stdout, stderr):
        given = (line, str(cwd), dict(env), str(stdout), str(stderr))
        self._process = _context.Process(target=_be_command, args=given, daemon=True)
        self._process.start()
        self.pid = int(self._process.pid or 0)

    @property
    def returncode(self):
        """Its exit code once it has ended, or the negative number of the signal that ended it."""
        return self._process.exitcode

    def poll(self):
        """The same."""
        return self.returncode

    def wait(self, timeout_s=None):
        """Wait for its end, and return its exit code.

        Raises:
            TimeoutExpired: it has not ended by then.
        """
        self._process.join(timeout_s)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout_s or 0.0)
        return self.returncode

    def send_signal(self, number):
        """Send it a signal, if it is still there."""
        if self.returncode is None:
            os.kill(self.pid, number)


def _be_command(line, cwd, env, stdout, stderr):
    """Become what a shell would start: a session's leader, with usual signals, this environment and these files."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, file in ((1, stdout), (2, stderr)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)

    if line[1] == "-c":
        exec(line[2], {"__name__": "__main__"})
        return
    sys.argv = line
    if Path(line[0]).name == "mlflow-sysmetrics":
        from mlflow_sysmetrics.command.cli import main

        main(line[1:], prog_name=line[0])
    from mlflow.cli import cli

    with mock.patch("mlflow.server._exec_cmd", _be_server):
        cli(line[1:], prog_name="mlflow")


def _be_server(command, *, extra_env, **_):
    """Become what `mlflow server` would start in another process: `python -m uvicorn ...`, with these variables."""
    import uvicorn

    os.environ.update(extra_env)
    uvicorn.main(command[3:])
