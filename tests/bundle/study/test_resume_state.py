"""What a study writes down of itself, and how it is read: settings, and the process that runs it."""

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from cases import cases
from commands import wait_until
from records import experiment_id, study_settings

from entrypoints.options import search_space
from entrypoints.runs.recorded import RecordedRun
from entrypoints.runs.tags import PID_SINCE
from entrypoints.study.resume import is_alive, keep, kept, take
from mlflow_sysmetrics.recording.tags import NODE, PID

GRID = """{hidden_layer_sizes: [[8], [16, 4]], alpha: {loguniform: [0.001, 0.1]}, shuffle: [true, false],
n_iter_no_change: {integers: [2, 7]}, activation: tanh, batch_size: [16, 64]}"""


@pytest.fixture
def run(client):
    """A run in a store of its own."""
    return _new_run(client)


def _new_run(client):
    return RecordedRun.of(client, client.create_run(experiment_id(client)))


def test_study_is_taken_by_one_of_two_commands(client, run):
    """Both have seen it free. When the first has ended, it can be taken again."""
    seen = client.get_run(run.run_id)
    commands = [_new_run(client), _new_run(client)]
    with ThreadPoolExecutor(2) as executor:
        taken = list(executor.map(lambda by: take(seen, by), commands))
    assert sorted(taken) == [False, True]
    seen = client.get_run(run.run_id)
    assert seen.data.params["resumed_by_1"] == commands[taken.index(True)].run_id
    assert take(seen, _new_run(client))


@cases(
    "settings",
    {
        "defaults": study_settings(),
        "distributions": study_settings(space=search_space.parse(GRID, Path()), search="tpe", max_trials=9, seed=3),
        "limits": study_settings(dataset="/a b/ä.csv", target="é", limits="elapsed_s<=3"),
    },
)
def test_settings_come_back_as_they_were(run, settings):
    """With their types; execution is that of the command which reads them."""
    keep(run, settings)
    execution = {"cpus": 7, "time_limit_s": 2.5, "ray_address": "auto"}
    assert kept(run.client, run.run_id, execution) == replace(settings, **execution)


def test_process_that_runs_a_study_is_seen_until_it_ends():
    """By its number, which is given again, and the time when it started. What is seen elsewhere is in test_mistakes."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        since = psutil.Process(process.pid).create_time()
        tags = {NODE: platform.node(), PID: str(process.pid), PID_SINCE: str(since)}
        assert is_alive(tags) is True
        assert is_alive(tags | {PID_SINCE: str(since - 3600)}) is False
        process.kill()
        wait_until(lambda: not is_alive(tags), 300, "the end")  # a zombie until it is waited for


def test_study_names_the_process_that_runs_it_and_the_command_that_continues_it(run):
    """As it begins: a process that is killed says nothing at its end."""
    command = keep(run, study_settings())
    tags = run.client.get_run(run.run_id).data.tags
    assert command == f"mlflow run . -e tune -P resume={run.run_id} --env-manager local"
    assert f"`{command}`" in tags["mlflow.note.content"]
    assert tags[NODE] == platform.node()
    assert tags[PID] == str(os.getpid())
    assert float(tags[PID_SINCE]) == pytest.approx(psutil.Process().create_time())
    assert is_alive(tags) is False  # it is this one
