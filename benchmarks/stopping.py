"""How soon a command is ended, what asking costs the server, and whether a death for memory is told from others.

    python benchmarks/stopping.py [--times 10] [--browser]

*Growth*: a program takes 100 MB a second and is limited to 300 MB; how far above it got. *Button*: from setting the tag
`sysmetrics.stop` through a real `mlflow server` to SIGTERM in the program. *Requests*: what a command that runs for a
quarter of a minute asks of that server in a minute. *Deaths*: programs that the kernel kills for memory in a control
group of their own, where one can be made (as root), and others that `kill -9` ends.

With --browser nothing of this: the tag is typed on the run's page in Chromium, and the time is from *Save tags* to
SIGTERM in a command, to the end of a Tune trial, and to that of a Tune study.
"""

import os
import shutil
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
from fault_proxy import FaultProxy  # noqa: E402
from memory_group import memory_group  # noqa: E402
from stop_tag import save_tags, type_stop_tag  # noqa: E402
from tracking_server import tracking_server  # noqa: E402

LIMIT_MB, WAIT_S, QUIET_S = 300, 60.0, 15.0
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
# Trials that report ten times a second for ten minutes, one after the other. When one has ended, or the experiment has,
# the file `ended` gets a line: when, and what.
TUNE_SCRIPT = """
import pathlib, sys, time

import ray
from ray import tune

from mlflow_sysmetrics import SystemMetricsCallback

class Ends(tune.Callback):
    def on_trial_complete(self, iteration, trials, trial, **info):
        write(trial.trial_id)

def write(what):
    with pathlib.Path("ended").open("a") as file:
        file.write(f"{time.time()} {what}\\n")

def train(config):
    for step in range(6000):
        tune.report({"loss": 1.0})
        time.sleep(0.1)

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
for number in range(int(sys.argv[1])):
    tune.Tuner(
        train,
        param_space={"number": tune.grid_search(list(range(20)))},
        run_config=tune.RunConfig(
            name=f"study-{number}", storage_path=str(pathlib.Path.cwd() / "tune"),
            callbacks=[SystemMetricsCallback(), Ends()], verbose=0,
        ),
    ).fit()
    write("study")
"""


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


def button(client, folder, page=None):
    """Seconds from the tag to the signal. With a page it is typed there."""
    for name in ("ready", "heard"):
        (folder / name).unlink(missing_ok=True)
    process = started(client.tracking_uri, folder, source=HEARS)
    wait_until((folder / "ready").exists, WAIT_S, "the program")
    wait_until(lambda: newest(client).info.status == "RUNNING", WAIT_S, "the program's run")
    time.sleep(1 + time.time() % 1)  # at any moment between two questions
    tagged = press(client, newest(client), page)
    process.wait(WAIT_S)
    return float((folder / "heard").read_text()) - tagged


def press(client, run, page=None):
    """Set the tag of a run, or type it on its page; when it was set, or saved there."""
    if page is not None:
        type_stop_tag(page, client.tracking_uri, run.info.run_id)
        return save_tags(page)
    tagged = time.time()
    client.set_tag(run.info.run_id, "sysmetrics.stop", "now")
    return tagged


def tune_line(folder, studies):
    """The command of the script, which is written into the folder, for this number of studies, one after the other."""
    script = folder / "tune_trials.py"
    script.write_text(TUNE_SCRIPT)
    return [sys.executable, str(script), str(studies)]


def ended(folder):
    """What has ended, and when."""
    file = folder / "ended"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(float(when), what) for when, what in map(str.split, lines)]


def buttons_of_tune(client, folder, page, times, kind):
    """Seconds from the saved tag to the end of a trial, or of a study."""
    (folder / "ended").unlink(missing_ok=True)
    env = clean_environment(MLFLOW_TRACKING_URI=client.tracking_uri, MLFLOW_SYSMETRICS_SPOOL=str(folder / "spool"))
    line = tune_line(folder, times if kind == "study" else 1)
    script = subprocess.Popen(line, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waited = []
    seen = set()

    def running():
        trials = client.search_runs(["0"], "tags.`sysmetrics.kind` = 'trial' and attributes.status = 'RUNNING'")
        new = [run for run in trials if run.info.run_id not in seen and "loss" in run.data.metrics]
        wanted = new if kind == "trial" else [client.get_parent_run(run.info.run_id) for run in new]
        return [run for run in wanted if run is not None and run.info.run_id not in seen]

    try:
        for number in range(times):
            wait_until(running, WAIT_S, f"a {kind}")
            run = running()[0]
            seen.add(run.info.run_id)
            tagged = press(client, run, page)
            wait_until(lambda number=number: len(ended(folder)) > number, WAIT_S, f"the end of the {kind}")
            waited.append(ended(folder)[number][0] - tagged)
    finally:
        script.send_signal(signal.SIGINT)
        script.wait(WAIT_S)
    return waited


def by_hand(client, folder, times):
    """The times of tags that are typed in a browser."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        close = page.locator("[data-component-id='mlflow.assistant.chat_panel.close']")
        page.add_locator_handler(close, lambda button: button.click())
        told = {"a command": [button(client, folder, page) for _ in range(times)]}
        told |= {f"a Tune {kind}": buttons_of_tune(client, folder, page, times, kind) for kind in ("trial", "study")}
        browser.close()
    for what, waited in told.items():
        click.echo(f"typed: median {median(waited):.1f} s, at most {max(waited):.1f} s to the end of {what} (aim 5)")


def requests_a_minute(client, proxy, folder):
    """Of a command that does nothing, once it runs."""
    (folder / "ready").unlink(missing_ok=True)
    process = started(proxy.uri, folder, source=HEARS)
    wait_until((folder / "ready").exists, WAIT_S, "the program")
    time.sleep(3)
    before = proxy.passed
    time.sleep(QUIET_S)
    asked = proxy.passed - before
    process.send_signal(signal.SIGTERM)
    process.wait(WAIT_S)
    return 60 * asked / QUIET_S


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
@click.option("--browser", is_flag=True, help="Type the tags in Chromium; nothing else is measured.")
def main(times, browser):
    """Measure and print."""
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    with tempfile.TemporaryDirectory(prefix="stopping-") as name, tracking_server(Path(name)) as port:
        folder, client = Path(name), MlflowClient(f"http://127.0.0.1:{port}")
        if browser:
            by_hand(client, folder, times)
            return
        over = [growth(client, folder) - 1 for _ in range(times)]
        click.echo(f"growth: median {median(over):.1%} over the limit, at most {max(over):.1%} (aim 5 %)")
        waited = [button(client, folder) for _ in range(times)]
        click.echo(
            f"button: median {median(waited):.1f} s from the tag to SIGTERM, at most {max(waited):.1f} s (aim 5)"
        )
        with FaultProxy(port) as proxy:
            click.echo(f"requests: {requests_a_minute(client, proxy, folder):.0f} a minute of one command")
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
