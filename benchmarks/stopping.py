"""How soon a command is ended, and whether a death for memory is told from others.

    python benchmarks/stopping.py [--times 10] [--quick]

*Growth*: a program takes 100 MB a second and is limited to 300 MB; how far above it got. *Button*: from setting the tag
`sysmetrics.stop` through a real `mlflow server` to SIGTERM in the program. *Deaths*: programs that the kernel kills for
memory in a control group of their own, where one can be made (as root), and others that `kill -9` ends.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from commands import clean_environment, wait_until  # noqa: E402
from machines import memory_group  # noqa: E402
from servers import tracking_server  # noqa: E402

LIMIT_MB, WAIT_S = 300, 60.0
GROWS = "import time\nkept = []\nwhile True:\n    kept.append(b'x' * 2_000_000)\n    time.sleep(0.02)"
HEARS = """
import signal, sys, time
import mlflow
mlflow.start_run()  # else it has none for a minute
def heard(number, frame):
    open(sys.argv[1] + "/heard", "w").write(repr(time.time()))
    sys.exit(1)
signal.signal(signal.SIGTERM, heard)
open(sys.argv[1] + "/ready", "w").close()
time.sleep(600)
"""
EATS = """
import os, time
open({group!r}, 'w').write(str(os.getpid()))
time.sleep(2)
kept = []
while True: kept.append(b'x' * 1_000_000)
"""
SLEEPS = "import os, time\nopen({place!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"


def started(uri, folder, *options, source):
    """A program under `mlflow-sysmetrics run`."""
    line = [sys.executable, "-m", "mlflow_sysmetrics.command.cli", "run", *options, "--"]
    env = clean_environment(MLFLOW_TRACKING_URI=uri, MLFLOW_SYSMETRICS_SPOOL=str(folder / "spool"))
    return subprocess.Popen([*line, sys.executable, "-c", source, str(folder)], env=env, cwd=folder)


def newest(client):
    """The run that began last."""
    return client.search_runs(["0"], order_by=["attributes.start_time DESC"], max_results=1)[0]


def growth(client, folder):
    """The peak over the limit, of a program that grows."""
    started(client.tracking_uri, folder, "--limits", f"peak_memory_mb<={LIMIT_MB}", source=GROWS).wait(WAIT_S)
    return newest(client).data.metrics["peak_memory_mb"] / LIMIT_MB


def button(client, folder):
    """Seconds from the tag to the signal."""
    for name in ("ready", "heard"):
        (folder / name).unlink(missing_ok=True)
    process = started(client.tracking_uri, folder, source=HEARS)
    wait_until((folder / "ready").exists, WAIT_S, "the program")
    wait_until(lambda: newest(client).info.status == "RUNNING", WAIT_S, "the program's run")
    time.sleep(1 + time.time() % 1)  # at any moment between two questions
    tagged = time.time()
    client.set_tag(newest(client).info.run_id, "sysmetrics.stop", "now")
    process.wait(WAIT_S)
    return float((folder / "heard").read_text()) - tagged


def died_for_memory(client, folder, group):
    """What the run says of a program that the kernel kills in a group, or that we kill."""
    if group is not None:
        started(client.tracking_uri, folder, source=EATS.format(group=str(group / "cgroup.procs"))).wait(WAIT_S)
    else:
        (folder / "pid").unlink(missing_ok=True)
        process = started(client.tracking_uri, folder, source=SLEEPS.format(place=str(folder / "pid")))
        wait_until(lambda: (folder / "pid").exists() and (folder / "pid").read_text(), WAIT_S, "the program")
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
        process.wait(WAIT_S)
    return newest(client).data.tags.get("sysmetrics.killed_for_memory", "unknown")


@click.command(help=__doc__)
@click.option("--times", default=10, show_default=True, help="Of each; deaths twice as often.")
@click.option("--quick", is_flag=True)
def main(times, quick):
    """Measure and print."""
    if quick:
        times = 1
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    with tempfile.TemporaryDirectory(prefix="stopping-") as name, tracking_server(Path(name)) as port:
        folder, client = Path(name), MlflowClient(f"http://127.0.0.1:{port}")
        over = [growth(client, folder) - 1 for _ in range(times)]
        click.echo(f"growth: median {median(over):.1%} over the limit, at most {max(over):.1%} (aim 5 %)")
        waited = [button(client, folder) for _ in range(times)]
        click.echo(
            f"button: median {median(waited):.1f} s from the tag to SIGTERM, at most {max(waited):.1f} s (aim 5)"
        )
        try:
            with memory_group() as group:
                told = [died_for_memory(client, folder, group) for _ in range(2 * times)]
            click.echo(f"deaths: {told.count('true')} of {len(told)} for memory are called so")
        except OSError as error:
            click.echo(f"deaths: no control group can be made here: {error}")
        told = [died_for_memory(client, folder, None) for _ in range(2 * times)]
        click.echo(f"deaths: {told.count('false')} of {len(told)} by kill -9 are called otherwise")


if __name__ == "__main__":
    main()
