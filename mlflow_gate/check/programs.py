"""Runs of two programs in pairs, both at once or one after the other, each measured by the kernel's own account.

Runs of a pair meet the same machine: what they differ by is theirs. Which one begins is up to a coin.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import click
import psutil
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_gate.check import imports
from mlflow_gate.check.contest import Metrics, failure, sharing_the_error
from mlflow_gate.check.verdict import ComparedMetric, Finding
from mlflow_sysmetrics.command.ask_store import StoreError, ask_store
from mlflow_sysmetrics.command.passthrough import Exit
from mlflow_sysmetrics.command.run_tracker import RunTracker
from mlflow_sysmetrics.common.redact import absolute_uri
from mlflow_sysmetrics.common.time_limits import ENDED_EVERY_S, SHORT_GRACE_S
from mlflow_sysmetrics.delivery import RunRef
from mlflow_sysmetrics.limits import end_tree
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.recording import tags
from mlflow_sysmetrics.recording.host import Host
from mlflow_sysmetrics.recording.outcome import Outcome
from mlflow_sysmetrics.sampling import KB_MB

_TAIL = 2000  # bytes of its output
_LOOK_EVERY_S = 0.5  # at what both import
_READ_EVERY_S = 0.02  # five times as often as usual: what is sampled misses short peaks
# The program's parent: the kernel begins a process's mark of its memory with that of the one that has started it, and
# this one is small. The program begins once it is measured, and its end waits until the last reading of it was taken.
_LAUNCH = """
import json, os, sys, time
events, command = int(sys.argv[1]), sys.argv[2:]
held, release = os.pipe()
pid = os.fork()
if not pid:
    os.close(events)
    os.close(release)
    os.read(held, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)
os.write(events, f"{pid}\\n".encode())
os.read(0, 1)
began = time.monotonic()
os.close(release)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
elapsed_s = time.monotonic() - began
os.write(events, b"ended\\n")
os.read(0, 1)
status, used = os.wait4(pid, 0)[1:]
account = [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss, elapsed_s]
os.write(events, json.dumps(account).encode())
"""


@dataclass(frozen=True)
class Program:
    """A program: of which side, its command with ``{pair}`` for the number of a pair, and where it runs."""

    side: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    tree: Path = Path()  # the worktree of its code, where the baseline is a commit
    kind: str = "check run"  # of its runs in MLflow


def why_in_turn(used: Sequence[Metrics], free_mb: float, cores: float) -> str:
    """Why programs that have used so much cannot run both at once; empty if they can."""
    peak_mb = max(max(costs["peak_rss_mb"], costs["peak_memory_mb"]) for costs in used)
    if free_mb < 2 * peak_mb:
        return f"{free_mb:.0f} MB are free, and each takes {peak_mb:.0f}"
    busy = max(costs["cpu_seconds"] / costs["elapsed_s"] for costs in used)
    needed = 2 * math.ceil(busy - 0.2)  # a little of a second core is none
    if cores < needed:
        return f"both at once would keep {needed} cores busy, of {cores:g}"
    return ""


@dataclass
class Programs:
    """A `Contest` of two programs, baseline and candidate; `repository` is that of their worktrees, if any.

    Each has to have these `metrics`; `phase` is one more, if both have it.
    """

    programs: Sequence[Program]
    why_in_turn: str = ""  # else both at once
    repository: Path | None = None
    metrics: Sequence[ComparedMetric] = ()
    phase: ComparedMetric | None = None
    _launchers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def how(self) -> str:
        """How the programs of a pair run, and why."""
        return f"in turn: {self.why_in_turn}" if self.why_in_turn else "both at once"

    def warm_up(self, parent: RunRef) -> list[Finding]:
        """Run each program once, and see whether each has its own code, and both fit on this machine at once."""
        used = self._run_alone(parent)
        if self.phase and all(self.phase.name in measured for measured in used):
            self.metrics = sharing_the_error([*self.metrics, self.phase])
        if not self.why_in_turn:
            host = Host()
            free_mb = min(psutil.virtual_memory().available / 1e6, float(host.memory_limit_mb()))
            self.why_in_turn = why_in_turn(used, free_mb, float(host.usable_cores()))
        return []

    def _run_alone(self, parent: RunRef) -> Sequence[Metrics]:
        if self.repository is None:
            return self.run(parent, 0)
        with tempfile.TemporaryDirectory(prefix="mlflow-sysmetrics-", ignore_cleanup_errors=True) as folder:
            telling = []
            checkouts = []
            for program in self.programs:
                environment = imports.told_in(Path(folder, program.side), program.environment)
                telling.append(replace(program, environment=environment))
                checkouts.append(imports.Checkout(program.tree, self.repository))
            both = replace(self, programs=telling)
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(both.run, parent, 0)
                try:
                    while not wait([running], _LOOK_EVERY_S).done:
                        self._imports(checkouts, Path(folder))
                except BaseException:  # also Ctrl-C
                    while not running.done():
                        both.end_programs()
                        time.sleep(ENDED_EVERY_S)
                    raise
            used = running.result()
            imports.refuse_silent(self._imports(checkouts, Path(folder)))
            return used

    def _imports(self, checkouts: Sequence[imports.Checkout], folder: Path) -> Mapping[str, set[imports.Module]]:
        """What each side has imported by now. click.UsageError: some of it is code of the other side, too."""
        told = {}
        for program, checkout in zip(self.programs, checkouts, strict=True):
            told[program.side] = imports.read(folder / program.side)
            python_path = program.environment.get("PYTHONPATH", "")
            checkout.refuse_code_of_others(told[program.side], program.folder, python_path)
        return told

    def run(self, parent: RunRef, pair: int) -> Sequence[Metrics]:
        """Run a pair, number 0 one after the other; the metrics of baseline and candidate, with their costs."""
        order = random.sample(self.programs, len(self.programs))
        with ThreadPoolExecutor(2 if pair and not self.why_in_turn else 1) as pool:
            running = {program.side: pool.submit(self._run_one, program, parent, pair) for program in order}
            try:
                return [running[program.side].result() for program in self.programs]
            except BaseException:  # Ctrl-C, too: leave no process behind
                pool.shutdown(wait=False, cancel_futures=True)
                while not all(one.done() for one in running.values()):
                    self.end_programs()
                    time.sleep(ENDED_EVERY_S)
                raise

    def end_programs(self) -> None:
        """End those that run."""
        for launcher in self._launchers.copy():  # each waits for its program, and ends then
            with contextlib.suppress(psutil.NoSuchProcess):
                for program in psutil.Process(launcher.pid).children():
                    end_tree(program, SHORT_GRACE_S)

    def _run_one(self, program: Program, parent: RunRef, pair: int) -> Metrics:
        about = {tags.KIND: program.kind, tags.SIDE: program.side, tags.PAIR: str(pair)}
        about[MLFLOW_PARENT_RUN_ID] = str(parent.run_id)
        tracker = RunTracker(name=f"{program.side} {pair}" if pair else f"{program.side}, warm-up", tags=about)
        environment = {**program.environment, "SYSMETRICS_PAIR": str(pair), **tracker.environment}
        environment["MLFLOW_TRACKING_URI"] = absolute_uri(parent.tracking_uri)
        environment.pop("MLFLOW_RUN_ID", None)  # of the check
        command = [word.replace("{pair}", str(pair)) for word in program.command]
        with tempfile.TemporaryFile() as output:
            popen = {"cwd": program.folder, "env": environment, "stdout": output, "stderr": output}
            program_exit, costs = self._measure(tracker, parent, command, popen)
            last_lines = _last_lines(output)
        outcome = Outcome(program_exit.outcome.status, about)
        tracker.finish(outcome, ends=True, figures=costs)  # in place of those sampled
        if program_exit.code:
            raise failure(program.side, f"failed with exit code {program_exit.code}\n  {last_lines}")
        if pair and costs.keys() >= {metric.name for metric in self.metrics}:
            return costs
        try:
            measured = {**_logged(tracker.run), **costs}
        except StoreError as error:
            if not pair:
                raise
            click.echo(f"what the {program.side} has logged is not known: {error.message}", err=True)
            return costs
        for metric in self.metrics:
            if not math.isfinite(measured.get(metric.name, math.nan)):
                known = ", ".join(sorted(name for name in measured if "/" not in name or name.endswith("/cpu_seconds")))
                raise failure(program.side, f"has no finite metric {metric.name!r} in its run, which has {known}")
        return measured

    def _measure(
        self, tracker: RunTracker, parent: RunRef, command: Sequence[str], popen: dict[str, Any]
    ) -> tuple[Exit, dict[str, float]]:
        """Run a program to its end; return also what it cost, with all processes below it."""
        read_end, write_end = os.pipe()
        line = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(write_end), *command]
        launcher = subprocess.Popen(line, stdin=subprocess.PIPE, pass_fds=[write_end], start_new_session=True, **popen)
        self._launchers.append(launcher)
        os.close(write_end)
        with os.fdopen(read_end) as events, launcher:
            go = launcher.stdin.fileno()  # type: ignore[union-attr]
            pid = int(events.readline())
            measurement = Measurement(pid, interval_s=_READ_EVERY_S).start()
            tracker.start(parent._replace(run_id=None), measurement)
            os.write(go, b"\n")
            events.readline()
            measurement.stop()
            tracker.look()  # the program may have said more of its memory
            os.write(go, b"\n")
            exit_code, cpu_s, peak_kb, elapsed_s = json.loads(events.read())
        self._launchers.remove(launcher)
        seen = measurement.summary  # with processes that nobody has waited for, as Ray's
        costs = {
            "cpu_seconds": max(cpu_s, seen.get("cpu_seconds", 0.0)),
            "peak_rss_mb": max(peak_kb * KB_MB, seen.get("peak_rss_mb", 0.0)),
            "peak_memory_mb": seen.get("peak_memory_mb", math.nan),
            "elapsed_s": elapsed_s,
        }
        return Exit(exit_code), costs


def _logged(run: RunRef) -> Metrics:
    """The metrics of a run, in the store that its program has chosen. StoreError: it does not answer."""
    if run.run_id is None:  # a slow store has not created it, so the program has opened none
        return {}
    run_id = run.run_id
    client = MlflowClient(run.tracking_uri)
    metrics: Metrics = ask_store(run.tracking_uri, lambda: client.get_run(run_id).data.metrics)
    return metrics


def _last_lines(output: IO[bytes]) -> str:
    """The last five lines, as many bytes as a message has room for."""
    end = output.seek(0, os.SEEK_END)
    output.seek(max(0, end - _TAIL))
    lines = output.read().decode(errors="replace").splitlines()
    return "\n  ".join(lines[-5:])
