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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics import tags
from mlflow_sysmetrics.check.sides import Side
from mlflow_sysmetrics.command.ask_store import ask_store
from mlflow_sysmetrics.command.follow import Follower, Run
from mlflow_sysmetrics.command.passthrough import Ended
from mlflow_sysmetrics.delivery import now_ms
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.limits import end_tree
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.redact import absolute_uri

COSTS = "cpu_seconds", "peak_rss_mb", "elapsed_s"  # of a program with all processes below it
_KB_MB = 1.024e-3
# The program's parent: the kernel begins a process's mark of its memory with that of the one that has started it, and
# this one is small. It waits with the end of the program's process until the last reading of it was taken.
_LAUNCH = """
import json, os, sys, time
tell, command, began = int(sys.argv[1]), sys.argv[2:], time.monotonic()
pid = os.fork()
if not pid:
    os.close(tell)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)
os.write(tell, f"{pid}\\n".encode())
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
elapsed_s = time.monotonic() - began
os.write(tell, b"ended\\n")
sys.stdin.read(1)
status, used = os.wait4(pid, 0)[1:]
told = [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss, elapsed_s]
os.write(tell, json.dumps(told).encode())
"""


@dataclass
class Pairs:
    """Runs baseline and candidate, and records each run below `parent`, the run of the check."""

    sides: Sequence[Side]
    parent: Run
    why_in_turn: str = ""  # else both at once
    _launched: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def warm_up(self) -> None:
        """Run each program once, which does not count, and see whether both fit on this machine at once."""
        used = self.run(0)
        if self.why_in_turn:
            return
        peak_mb = max(max(each["peak_rss_mb"], each.get("peak_memory_mb", 0.0)) for each in used)
        cores = max(each["cpu_seconds"] / each["elapsed_s"] for each in used)
        host, free_mb = Host(), psutil.virtual_memory().available / 1e6
        usable, needed = float(host.usable_cores()), 2 * math.ceil(cores - 0.2)  # a little of a second core is none
        if min(free_mb, float(host.memory_limit_mb())) < 2 * peak_mb:
            self.why_in_turn = f"{free_mb:.0f} MB are free, and each takes {peak_mb:.0f}"
        elif usable < needed:
            self.why_in_turn = f"both at once would keep {needed} cores busy, of {usable:g}"

    def run(self, pair: int) -> list[Mapping[str, float]]:
        """Run a pair, number 0 one after the other; the metrics of baseline and candidate, with `COSTS`."""
        order = random.sample(self.sides, 2)
        with ThreadPoolExecutor(2 if pair and not self.why_in_turn else 1) as pool:
            running = {side.name: pool.submit(self._run_one, side, pair) for side in order}
            try:
                return [running[side.name].result() for side in self.sides]
            except BaseException:  # Ctrl-C, too: leave no process behind
                pool.shutdown(wait=False, cancel_futures=True)
                while not all(each.done() for each in running.values()):
                    self._end_programs()
                    time.sleep(0.05)
                raise

    def _end_programs(self) -> None:
        for launched in [*self._launched]:  # each waits for its program, and ends then
            with contextlib.suppress(psutil.NoSuchProcess):
                for program in psutil.Process(launched.pid).children():
                    end_tree(program, 2.0)

    def _run_one(self, side: Side, pair: int) -> Mapping[str, float]:
        if side.stored is not None:
            return side.stored
        about = {tags.KIND: "check run", tags.SIDE: side.name, tags.PAIR: str(pair)}
        about[MLFLOW_PARENT_RUN_ID] = self.parent.run_id
        name = f"{side.name} {pair}" if pair else f"{side.name}, warm-up"
        follower = Follower(self.parent._replace(run_id=""), name=name, tags=about)
        environment = {**side.environment, "SYSMETRICS_PAIR": str(pair), **follower.environment}
        environment["MLFLOW_TRACKING_URI"] = absolute_uri(self.parent.uri)
        environment.pop("MLFLOW_RUN_ID", None)  # of the check
        command = [word.replace("{pair}", str(pair)) for word in side.command]
        with tempfile.TemporaryFile() as output:
            where = {"cwd": side.folder, "env": environment, "stdout": output, "stderr": output}
            exit_code, costs, measurement = self._measured(follower, command, where)
            output.seek(max(0, output.seek(0, os.SEEK_END) - 4096))
            said = output.read().decode(errors="replace")
        follower.finish(Ended(exit_code).status, about, ends=True)
        costs[1] = max(costs[1], measurement.summary.get("peak_rss_mb", 0.0))  # with what the program told last
        if exit_code:
            last = "".join(f"\n  {line}" for line in said.splitlines()[-5:])
            raise side.failed(f"failed with exit code {exit_code}{last}")
        client, run_id = MlflowClient(self.parent.uri), follower.run.run_id
        metrics = [Metric(*each, now_ms(), 0) for each in zip(COSTS, costs, strict=True)]  # in place of those sampled
        ask_store(self.parent.uri, lambda: client.log_batch(run_id, metrics))
        return ask_store(self.parent.uri, lambda: client.get_run(run_id).data.metrics)

    def _measured(
        self, follower: Follower, command: Sequence[str], where: dict[str, Any]
    ) -> tuple[int, list[float], Measurement]:
        """Run a program to its end: its exit code, `COSTS`, and what has measured it."""
        hear, tell = os.pipe()
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(tell), *command]
        process = subprocess.Popen(launcher, stdin=subprocess.PIPE, pass_fds=[tell], start_new_session=True, **where)
        self._launched.append(process)
        os.close(tell)
        with os.fdopen(hear) as heard:
            pid = int(heard.readline() or process.pid)
            measurement = Measurement(pid).start()
            follower.start(measurement, pid)
            heard.readline()
            measurement.stop()
            process.communicate(b"\n")
            told = heard.read()
        self._launched.remove(process)
        exit_code, cpu_s, peak_kb, elapsed_s = json.loads(told) if told else (-9, 0.0, 0.0, 1.0)  # it was killed
        cpu_s = max(cpu_s, measurement.summary.get("cpu_seconds", 0.0))  # with processes that nobody has waited for
        return exit_code, [cpu_s, peak_kb * _KB_MB, elapsed_s], measurement
