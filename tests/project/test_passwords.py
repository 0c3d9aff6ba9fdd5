"""A server that wants a password, given in its address: everything works, and nothing that is left says it."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from commands import ROOT, STUDY, Command, children, clean_environment, project_line, runs_of_kind, wait_until
from mlflow import MlflowClient
from servers import TrackingServer

pytestmark = pytest.mark.slow
PASSWORD = "Kx7hush42secretQ9"
PLUGIN = ("-m", "mlflow_sysmetrics.command.cli")
LIMIT_S = 600.0
SHORT = STUDY | {"space": "{batch_size: 256, learning_rate: [0.1, 0.01, 0.001], alpha: 0.001}"}


class Place:
    """A new folder, in which a server and all that is started leave their files."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("server", "home", "tmp", "spool"):
            (folder / name).mkdir()
        self.server = TrackingServer(folder / "server", password=PASSWORD)
        self.address = f"http://admin:{PASSWORD}@127.0.0.1:{self.server.port}"
        self.client = MlflowClient(self.address)
        self.commands = []

    def start(self, *line):
        """Start a command that is told the address."""
        env = clean_environment(
            HOME=str(self.folder / "home"), TMPDIR=str(self.folder / "tmp"),
            MLFLOW_SYSMETRICS_SPOOL=str(self.folder / "spool"), PYTHONPATH=str(ROOT),
            MLFLOW_TRACKING_URI=self.address,
        )  # fmt: skip
        output = self.folder / f"output{len(self.commands)}"
        self.commands.append(Command([sys.executable, *line], cwd=ROOT, output=output, env=env))
        return self.commands[-1]

    def run(self, *line):
        """Run it to its end."""
        return self.start(*line).wait(LIMIT_S)

    def spools(self):
        """What waits for a server."""
        return list((self.folder / "spool").glob("*.jsonl"))

    def files_with_password(self):
        """Files in which it is."""
        every = [path for path in self.folder.rglob("*") if path.is_file()]
        assert every
        return [str(path.relative_to(self.folder)) for path in every if PASSWORD.encode() in path.read_bytes()]


@pytest.fixture
def place():
    """With the server started. The path is short, as Ray's sockets want it."""
    place = Place(Path(tempfile.mkdtemp(prefix="pw-")))
    try:
        place.server.start()
        yield place
    finally:
        for command in place.commands:
            command.kill()
        place.server.kill()
        shutil.rmtree(place.folder)


def test_study_leaves_no_password(place):
    """Not in its output, the store, the artifacts, Ray's logs and pickles; but in the link that `mlflow run` prints."""
    early_stop = place.run(*project_line("early_stop", SHORT | {"limits": "training_time_s<=100"}))
    assert early_stop.exit_code == 0, early_stop.stderr
    report = place.run("-m", "entrypoints.report")
    assert report.exit_code == 0, report.stderr
    (study,) = runs_of_kind(place.client, "study")
    trials = children(place.client, study, "trial")
    assert (study.info.status, len(trials)) == ("FINISHED", 3)
    said = early_stop.stdout.splitlines()
    assert any(text.startswith(f"  http://127.0.0.1:{place.server.port}/#/experiments/0/runs?") for text in said)
    assert [number for number, text in enumerate(said) if PASSWORD in text] == [len(said) - 2, len(said) - 1]
    assert place.files_with_password() == ["output0/stdout.txt"]


def test_watched_command_leaves_no_password(place):
    """The server is away at its end; what waits then is delivered with the password of whoever calls `sync`."""
    going = place.folder / "go"
    command = place.start(*PLUGIN, "run", "--", "sh", "-c", f"until [ -e {going} ]; do sleep 0.1; done")
    wait_until(place.spools, LIMIT_S, "the first readings")
    wait_until(
        lambda: [run for run in place.client.search_runs(["0"]) if run.data.metrics], LIMIT_S, "metrics in the store"
    )
    place.server.kill()
    going.touch()
    assert command.wait(LIMIT_S).exit_code == 0
    assert len(place.spools()) == 1, "its series and its end"
    away = place.run(*PLUGIN, "sync")
    assert (away.exit_code, place.files_with_password()) == (1, [])
    place.server.start()
    synced = place.run(*PLUGIN, "sync")
    assert synced.exit_code == 0, synced.stdout
    assert place.client.search_runs(["0"])[0].info.status == "FINISHED"
    assert place.spools() == []
    assert place.files_with_password() == []
