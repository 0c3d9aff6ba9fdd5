"""Fixtures that tests of several rooms share: real `mlflow run` processes, a store, one small study."""

import contextlib
import fcntl
import gc
import os
import pickle
import signal
import sqlite3
from pathlib import Path
from statistics import median

import pytest
from commands import (
    ROOT,
    STUDY,
    UNDER_LIMITS,
    Command,
    Study,
    UnderLimits,
    clean_environment,
    copy_store,
    early_stop,
    hostile_files,
    in_use,
    project_line,
    runs_of_kind,
    store_uri,
)
from mlflow import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine

LEFT_BY_TESTS = {".hypothesis", ".pytest_cache"}  # in the project's folder


@event.listens_for(Engine, "connect")
def _without_waiting_for_the_disk(connection, _):
    """The stores of tests need not outlive a power cut."""
    if isinstance(connection, sqlite3.Connection):
        with contextlib.suppress(sqlite3.Error):  # what is wrong with a file is for MLflow to find
            connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(autouse=True)
def _signals_have_their_usual_effect():
    """Also after a test that has ended a command of the bundle by a signal: later ones are ignored then."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def _nothing_old_is_looked_at_again():
    """What was imported is permanent, and so are MLflow's stores: each of many collections need not look at them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def project():
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def start_project():
    """Start `mlflow run <project> -e <entry> -P ...` in a folder, where its store is, and end it with the tests."""
    commands = []

    def start(entry, store_dir, **params):
        output = store_dir / f"output{len(commands)}"
        line = project_line(entry, params)
        command = Command(line, cwd=store_dir, output=output, env=clean_environment(), warm=True)
        commands.append(command)
        return command

    yield start
    for command in commands:
        command.kill()


@pytest.fixture(scope="session")
def run_project(start_project):
    """Run `mlflow run` on an entry point of the project to its end, with its store in a folder."""

    def run(entry, store_dir, **params):
        return start_project(entry, store_dir, **params).wait()

    return run


@pytest.fixture(scope="session")
def study(run_project, tmp_path_factory):
    """One small study of eight trials, of which two diverge. No test adds anything to its store."""

    def run():
        folder = tmp_path_factory.mktemp("study")
        hostile_files(folder)
        before = _project_files()
        command = run_project("tune", folder, **STUDY, register="red wine")
        assert command.exit_code == 0, f"the study did not succeed:\n{command.stdout}\n{command.stderr}"
        (study,) = runs_of_kind(MlflowClient(store_uri(folder)), "study")
        return Study(folder, command, study, _project_files() - before)

    return _made_once("study", run, tmp_path_factory)


@pytest.fixture(scope="session")
def under_limits(study, tmp_path_factory):
    """Those six trials of the small study that do not diverge, of which a limit stops three, on one CPU core."""

    def run():
        folder = copy_store(study.folder, tmp_path_factory.mktemp("limits"))
        short, long = ([run.data.metrics for run in study.sound(size)] for size in ("256", "2"))
        # A sixth of the long ones: the machine may be four times as fast later. Far above the short ones.
        limit_s = float(f"{median(run['training_time_s'] for run in long) / 6:.4g}")
        assert max(run["training_time_s"] for run in short) < limit_s
        early = early_stop(folder, **UNDER_LIMITS, limits=f"training_time_s<={limit_s}")
        assert early.command.exit_code == 0, early.command.stderr
        return UnderLimits(study, early, limit_s)

    return _made_once("under_limits", run, tmp_path_factory)


@pytest.fixture(scope="session")
def new_store(tmp_path_factory):
    """The folder of a store that holds nothing, to be copied: making its tables takes MLflow several seconds."""

    def make():
        folder = tmp_path_factory.mktemp("empty")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)  # where MLflow puts artifacts by default
            MlflowClient(store_uri(folder)).search_experiments()
        return folder

    return _made_once("new_store", make, tmp_path_factory)


@pytest.fixture
def empty_store(new_store, tmp_path):
    """A folder with a store that holds nothing."""
    return copy_store(new_store, tmp_path)


@pytest.fixture(scope="module")
def module_store(new_store, tmp_path_factory):
    """Such a folder for all tests of a module."""
    return copy_store(new_store, tmp_path_factory.mktemp("store"))


@pytest.fixture
def client(empty_store):
    """A store with the empty experiment `studies`, artifacts beside it; not the one that MLflow uses here."""
    client = MlflowClient(store_uri(empty_store))
    client.create_experiment("studies", (empty_store / "artifacts").as_uri())
    return client


@pytest.fixture
def store_in_use(empty_store):
    """A store of nothing, which commands in this process use."""
    with in_use(empty_store) as client:
        yield client


@pytest.fixture(scope="session")
def local_ray():
    """Ray with one CPU core in this process, as a study starts it."""
    from entrypoints.compute import workers

    workers.start(1)
    yield
    workers.stop()


def _made_once(name, make, tmp_path_factory):
    """Make something in the first of pytest's processes that asks for it; the others wait and get a copy."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # then the processes have a folder each in one that is common
        folder = folder.parent
    folder = Path(os.environ.get("MADE_ONCE", folder))  # CI: in one of its sessions for all
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        copy = folder / f"{name}.pickle"
        if not copy.exists():
            copy.write_bytes(pickle.dumps(make()))
        return pickle.loads(copy.read_bytes())


def _project_files():
    """The project's top folder, where MLflow or Ray would leave folders of theirs."""
    return {path for path in ROOT.iterdir() if path.name not in LEFT_BY_TESTS}
