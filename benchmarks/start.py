"""How long a study takes from the command to its first trial: `python benchmarks/start.py [--quick]`.

The first trial begins when its run does, which is just before Tune asks for its first step. CPU: of `mlflow run` and of
all processes below it, Ray's among them, until then. The store is a new SQLite file whose tables are made before. One
run comes first and does not count, so that Python has kept its bytecode.
"""

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
import psutil
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mlflow_sysmetrics import measure  # noqa: E402

FIRST_TRIAL = """SELECT min(start_time) FROM runs JOIN tags ON runs.run_uuid = tags.run_uuid
WHERE tags.key = 'sysmetrics.kind' AND tags.value = 'trial'"""


def start():
    """Seconds of the clock and of CPU until the first trial of a study, which is ended then."""
    with tempfile.TemporaryDirectory(prefix="start-", ignore_cleanup_errors=True) as folder:
        store = Path(folder, "mlflow.db")
        MlflowClient(f"sqlite:///{store}").search_experiments()
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{store}", "PATH": paths}
        line = ["mlflow", "run", str(ROOT), "-e", "tune", "-P", "dataset=red_wine", "--env-manager", "local"]
        began = time.time()
        with measure() as costs:
            process = subprocess.Popen(line, cwd=folder, env=env, stdout=subprocess.DEVNULL)
            while (first := first_trial(store)) is None:
                if process.poll() is not None:
                    raise click.ClickException("the study ended before its first trial")
                time.sleep(0.1)
        command = psutil.Process(process.pid)
        processes = [command, *command.children(recursive=True)]
        command.terminate()
        psutil.wait_procs(processes, timeout=60)
        return first - began, costs.summary["cpu_seconds"]


def first_trial(store):
    """When the first trial's run began, in unix seconds."""
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        (first,) = database.execute(FIRST_TRIAL).fetchone()
    return None if first is None else first / 1000


@click.command(help=__doc__)
@click.option("--quick", is_flag=True)
def main(quick):
    """Measure and print."""
    start()
    starts = [start() for _ in range(1 if quick else 5)]
    wall_s, cpu_s = (median(values) for values in zip(*starts, strict=True))
    click.echo(f"median of {len(starts)}: {wall_s:.1f} s, CPU {cpu_s:.1f} s")


if __name__ == "__main__":
    main()
