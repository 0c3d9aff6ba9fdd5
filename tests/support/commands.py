"""Real `mlflow run` processes, each with a store of its own, and what they leave there."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
import psutil
import pytest
from click.testing import CliRunner
from machines import WarmProcess, has_ended
from mlflow import MlflowClient
from mlflow.artifacts import load_dict

ROOT = Path(__file__).parents[2]
MARK = "SYSMETRICS_TEST_COMMAND"  # names, in the environment of all its processes, the command that started them
COMMAND_TIMEOUT_S = 1200.0  # that of what never ends; a study takes a tenth of it
# Of two kinds: at equal epochs a batch of two rows takes a hundred times as long as one of 256, reaches several
# readings, and has curves of 20 points. 0.1 makes both diverge, and no other rate does.
STUDY = {
    "space": "{batch_size: [2, 256], learning_rate: [0.1, 0.01, 0.003, 0.001], alpha: 0.001}",
    "folds": "3",
    "length": "6 epochs",
    "cpus": "2",
    "served": "none",
}
UNDER_LIMITS = STUDY | {
    "space": "{batch_size: [2, 256], learning_rate: [0.01, 0.003, 0.001], alpha: 0.001}",
    "cpus": "1",
}
# NVIDIA's library for ``early_stop``: a card on which each process that asks computes.
PYNVML = """
import os
from machines import Gpu, Nvml

library = Nvml(Gpu(processes={os.getpid(): 3_000_000_000}))

def __getattr__(name):
    if name == "nvmlDeviceGetName":  # by which this machine would seem to be another one
        raise AttributeError(name)
    return getattr(library, name)
"""


def clean_environment(**more):
    """The environment without what MLflow, Ray or this test process put there, and with this Python first."""
    ours = ("MLFLOW_", "RAY_", "TUNE_", "PYTHONPATH", "OMP_", "OPENBLAS_", "MKL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return kept | {"PATH": path, "PYTHONUNBUFFERED": "1", "MLFLOW_DISABLE_TELEMETRY": "true"} | more


def store_uri(store_dir):
    """The address of the SQLite store in a folder, as MLflow chooses it for commands that run there."""
    return f"sqlite:///{store_dir / 'mlflow.db'}"


def hostile_files(folder):
    """Leave modules in a folder that libraries or this project would import; each writes a file when it is."""
    for name in ("pyspark", "IPython", "sitecustomize", "numpy", "entrypoints"):
        (folder / f"{name}.py").write_text(f"open({str(folder / f'executed-{name}')!r}, 'w')\n")


def executed(folder):
    """Those of ``hostile_files`` that were imported."""
    return sorted(path.name for path in folder.glob("executed-*"))


def copy_store(source, target):
    """Copy the store of one folder into another, new or not, which is returned; runs' artifacts stay where they are."""
    target.mkdir(exist_ok=True)
    shutil.copy(source / "mlflow.db", target)
    return target


@contextmanager
def in_use(folder):
    """Have commands in this process use the store of a folder, and run there; what is still active then is ended."""
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        mlflow.set_tracking_uri(store_uri(folder))
        try:
            yield MlflowClient()
        finally:
            while mlflow.active_run():
                mlflow.end_run()
            mlflow.set_tracking_uri(before)


def wait_until(condition, timeout_s, what, every_s=0.1):
    """Ask again and again until the condition holds; fail, saying what was awaited, when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        time.sleep(every_s)


def heed_interrupts():
    """Give Ctrl-C and a hang-up their usual effect in a new process: tests may run in the background or under nohup."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Command:
    """A running command in a session of its own, its output in files, and all processes that come from it.

    A ``warm`` one is `mlflow`, `mlflow-sysmetrics` or `python -c`, and need not import MLflow.
    """

    def __init__(self, arguments, *, cwd, output, env, warm=False):
        output.mkdir(parents=True, exist_ok=True)
        self._out, self._err = output / "stdout.txt", output / "stderr.txt"
        self.mark = str(output)
        self.began = time.monotonic()
        env = env | {MARK: self.mark}
        with self._out.open("w") as out, self._err.open("w") as err:
            if warm:
                self.process = WarmProcess(arguments, cwd=cwd, env=env, stdout=self._out, stderr=self._err)
            else:
                self.process = subprocess.Popen(
                    arguments, cwd=cwd, env=env, stdout=out, stderr=err, start_new_session=True,
                    preexec_fn=heed_interrupts,
                )  # fmt: skip
        self._seen = {}

    @property
    def stdout(self):
        """What it has written so far."""
        return self._out.read_text()

    @property
    def stderr(self):
        """What it has written so far."""
        return self._err.read_text()

    def wait(self, timeout_s=COMMAND_TIMEOUT_S):
        """Wait for the command's own end."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"not ended within {timeout_s:g} s:\n{self.stdout}\n{self.stderr}")
        return Finished(code, self.stdout, self.stderr, time.monotonic() - self.began)

    def processes(self):
        """Its living processes and their command lines.

        They are found as descendants, by session, and by the mark in the environment they inherited; those seen once
        are remembered, since Ray's detach themselves and overwrite their environment with a title.
        """
        known = set(self._seen)
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if os.getsid(process.pid) == self.process.pid or process.environ().get(MARK) == self.mark:
                    known.add(process)
        for process in tuple(known):
            with suppress(psutil.Error):
                known.update(process.children(recursive=True))
        for process in known - set(self._seen):
            with suppress(psutil.Error):
                self._seen[process] = " ".join(process.cmdline())
        return {process: line for process, line in self._seen.items() if not has_ended(process.pid)}

    def signal(self, number, *, group):
        """Send a signal to the whole process group, as a terminal does, or to the first process alone."""
        os.killpg(self.process.pid, number) if group else self.process.send_signal(number)

    def kill(self):
        """End whatever is left of it."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
        self.process.wait(10)


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code, its output, and how long it took in seconds."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float


@dataclass
class Study:
    """A finished study: what the command left, and its MLflow runs. ``written`` are new files in the project."""

    folder: Path
    command: Finished
    run: object
    written: object = ()

    def __post_init__(self):
        self.client = MlflowClient(store_uri(self.folder))
        self.trials = children(self.client, self.run, "trial")

    def trial(self, **params):
        """The one trial with these parameters."""
        (run,) = [run for run in self.trials if params.items() <= run.data.params.items()]
        return run

    def sound(self, batch_size):
        """The trials with this batch size that did not diverge."""
        own = [run for run in self.trials if run.data.params["batch_size"] == batch_size]
        return [run for run in own if run.data.tags.get("sysmetrics.diverged") != "true"]

    def values(self, run, metric):
        """A metric's values by step."""
        return {point.step: point.value for point in self.client.get_metric_history(run.info.run_id, metric)}

    def rows(self, file):
        """A logged table's rows, without the cells that are empty."""
        table = load_dict(f"{self.run.info.artifact_uri}/{file}")
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        return [{name: cell for name, cell in row.items() if cell is not None} for row in rows]


@dataclass(frozen=True)
class UnderLimits:
    """A full study, and in a copy of its store one with a limit on the training time between its two kinds."""

    full: Study
    study: Study
    limit_s: float


def invoke(command, *words, **options):
    """What a command answers in this process."""
    return CliRunner().invoke(command, [*words, *typed(options)])


def typed(options):
    """Options as they stand on a command line."""
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def early_stop(folder, **options):
    """Run a study under limits in the environment that `mlflow run` makes, with a folder's store, and find its runs."""
    client = MlflowClient(store_uri(folder))
    run_id = client.create_run("0").info.run_id
    (folder / "library").mkdir()
    (folder / "library" / "pynvml.py").write_text(PYNVML)
    env = clean_environment(
        MLFLOW_RUN_ID=run_id, MLFLOW_EXPERIMENT_ID="0", MLFLOW_TRACKING_URI=store_uri(folder),
        PYTHONPATH=f"{folder / 'library'}:{Path(__file__).parent}",
    )  # fmt: skip
    line = [sys.executable, "-m", "entrypoints.tune", *typed(options)]
    command = Command(line, cwd=ROOT, output=folder / "output", env=env).wait()
    return Study(folder, command, client.get_run(run_id))


def children(client, parent, kind):
    """The runs of one kind nested under a run; of trials those of the search."""
    wanted = f"tags.mlflow.parentRunId = '{parent.info.run_id}' and tags.`sysmetrics.kind` = '{kind}'"
    found = client.search_runs([parent.info.experiment_id], wanted)
    return [run for run in found if "sysmetrics.role" not in run.data.tags]


def references(client, parent):
    """What a study held its search against, by the names of their runs."""
    wanted = f"tags.mlflow.parentRunId = '{parent.info.run_id}' and tags.`sysmetrics.role` = 'reference'"
    return {run.info.run_name: run for run in client.search_runs([parent.info.experiment_id], wanted)}


def runs_of_kind(client, kind):
    """The default experiment's runs of one kind, the newest first."""
    return client.search_runs(["0"], f"tags.`sysmetrics.kind` = '{kind}'")


def the_run(folder):
    """The only run in the store of a folder."""
    (run,) = MlflowClient(store_uri(folder)).search_runs(["0"])
    return run


def listening(processes):
    """The addresses of this machine at which processes answer to others, each as the user would type it."""
    found = set()
    for process in processes:
        with suppress(psutil.Error):
            found.update(each.laddr.ip for each in process.net_connections() if each.status == psutil.CONN_LISTEN)
    return {address.removeprefix("::ffff:") for address in found}


def project_line(entry, params, project=ROOT):
    """The command `mlflow run <project> -e <entry> -P ...` in this environment."""
    given = [part for name, value in params.items() for part in ("-P", f"{name}={value}")]
    # Not `python -m mlflow`: that looks for modules in the current folder first.
    mlflow = str(Path(sys.executable).with_name("mlflow"))
    return [mlflow, "run", str(project), "-e", entry, *given, "--env-manager", "local"]
