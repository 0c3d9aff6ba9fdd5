"""How long a study takes from its command to the first step of its first trial, and how much CPU until then.

    python benchmarks/start.py [PROJECT] [BEFORE] [--pairs 5]

PROJECT and BEFORE are folders of this project: this one and, to compare with, a checkout of another commit. Each is run
by the `mlflow` of its own `.venv`, or else by this Python's. With two folders both are run in turn, and the medians of
the ratios count.

The first step: when the first trial's run starts. The callback writes that time when Tune tells it that the trial's
process is ready, which is just before Tune asks for the first step. CPU: user and system time of `mlflow run` and of
all processes below it, Ray's among them, read ten times a second. The store is a new SQLite file whose tables are made
before the clock starts. One run of each folder comes first and is not counted, so that Python has kept its bytecode.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import psutil

ROOT = Path(__file__).resolve().parent.parent
EVERY_S = 0.1
WITHIN_S = 120.0
FIRST_TRIAL = """SELECT min(start_time) FROM runs JOIN tags ON runs.run_uuid = tags.run_uuid
WHERE tags.key = 'sysmetrics.kind' AND tags.value = 'trial'"""


@dataclass(frozen=True)
class Start:
    """Seconds until the first step: of the clock, and of CPU, the latter also by the name of the process."""

    wall_s: float
    cpu_s: float
    by_name: dict[str, float]


class Tree:
    """The CPU time of a process and all below it, dead ones included, at each moment that it is read."""

    def __init__(self, root):
        self._root = root
        self._seen = {}
        self.readings = []

    def read(self):
        """Take one reading."""
        for process in [self._root, *self._root.children(recursive=True)]:
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                self._seen[process] = _name(process), times.user + times.system
        by_name = {}
        for name, seconds in self._seen.values():
            by_name[name] = by_name.get(name, 0.0) + seconds
        self.readings.append((time.time(), by_name))

    def until(self, moment):
        """CPU seconds by name of process until then."""
        return min(self.readings, key=lambda reading: abs(reading[0] - moment))[1]

    def end(self):
        """Ask the command to end as a person would, and see that nothing of it stays."""
        with contextlib.suppress(psutil.NoSuchProcess):
            below = self._root.children(recursive=True)
            self._root.send_signal(signal.SIGTERM)
            for process in psutil.wait_procs([self._root, *below, *self._seen], timeout=15)[1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def _name(process):
    line = process.cmdline()
    return " ".join([Path(part).name if "/" in part else part for part in line[:4]])[:40] if line else process.name()


def start(project):
    """Start a study of a project and end it once its first trial has begun."""
    binaries = project / ".venv" / "bin"
    if not binaries.is_dir():
        binaries = Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="start-", ignore_cleanup_errors=True) as folder:
        store = Path(folder, "mlflow.db")
        shutil.copy(_empty_store(), store)
        env = os.environ | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{store}",
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        }
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [str(binaries / "mlflow"), "run", str(project), "-e", "tune"]
        command += ["-P", "dataset=red_wine", "--env-manager", "local"]
        began = time.time()
        with (
            Path(folder, "output").open("w") as output,
            subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output) as process,
        ):
            tree = Tree(psutil.Process(process.pid))
            try:
                while (first := _first_trial(store)) is None:
                    if process.poll() is not None or time.time() - began > WITHIN_S:
                        raise click.ClickException(f"no trial began:\n{Path(folder, 'output').read_text()}")
                    tree.read()
                    time.sleep(EVERY_S)
            finally:
                tree.end()
        by_name = tree.until(first)
        return Start(first - began, sum(by_name.values()), by_name)


def _empty_store():
    """A store with its tables, and nothing in them."""
    store = Path(tempfile.gettempdir(), f"start-{os.getpid()}.db")
    if not store.exists():
        make = "import mlflow; mlflow.MlflowClient().search_experiments()"
        env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{store}"}
        subprocess.run([sys.executable, "-c", make], env=env, check=True, capture_output=True)
    return store


def _first_trial(store):
    """When the first trial's run began, in unix seconds."""
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        (first,) = database.execute(FIRST_TRIAL).fetchone()
    return None if first is None else first / 1000


@click.command(help=__doc__)
@click.argument("project", type=click.Path(exists=True, path_type=Path, resolve_path=True), default=ROOT)
@click.argument("before", type=click.Path(exists=True, path_type=Path, resolve_path=True), required=False)
@click.option("--pairs", default=5, show_default=True)
@click.option("--warm/--no-warm", default=True, help="Run each folder once before, uncounted.")
@click.option("--by-process", is_flag=True, help="Say which processes took the CPU time of the last run.")
def main(project, before, pairs, warm, by_process):
    """Measure and print."""
    folders = {"after": project} if before is None else {"before": before, "after": project}
    try:
        for folder in folders.values() if warm else ():
            start(folder)
        starts = {name: [] for name in folders}
        for pair in range(pairs):
            for name, folder in folders.items():
                starts[name].append(start(folder))
            last = {name: each[-1] for name, each in starts.items()}
            said = "; ".join(f"{name} {each.wall_s:.1f} s, CPU {each.cpu_s:.1f} s" for name, each in last.items())
            click.echo(f"run {pair + 1}: {said}")
    finally:
        _empty_store().unlink()
    for name, each in starts.items():
        wall_s, cpu_s = median(one.wall_s for one in each), median(one.cpu_s for one in each)
        click.echo(f"median {name}: {wall_s:.1f} s (target <= 10), CPU {cpu_s:.1f} s")
    if before is not None:
        pairs_of = list(zip(starts["after"], starts["before"], strict=True))
        wall = median(after.wall_s / earlier.wall_s for after, earlier in pairs_of)
        cpu = median(after.cpu_s / earlier.cpu_s for after, earlier in pairs_of)
        click.echo(f"median ratio: wall {wall:.2f}, CPU {cpu:.2f} (target <= 0.60)")
    if by_process:
        for seconds, process in sorted(((s, n) for n, s in starts["after"][-1].by_name.items()), reverse=True):
            click.echo(f"  {seconds:6.2f} s  {process}")


if __name__ == "__main__":
    main()
