"""A study on a Ray cluster of several nodes, whose workers have the libraries and nothing of this project."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from commands import (
    ROOT,
    STUDY,
    Command,
    Finished,
    Study,
    children,
    clean_environment,
    project_line,
    runs_of_kind,
    wait_until,
)
from mlflow import MlflowClient
from mlflow.entities import Run
from own_models import ALGORITHMS, OF_TABLE, write_own_models
from ray_nodes import Nodes, ray_nodes
from tracking_server import tracking_server

from entrypoints.compute.places import Cluster, check_store
from entrypoints.errors import UserError

CURVES = ("train_loss", "val_loss", "val_rmse")
RAYS_OWN_TRY_S = 60.0
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-cluster"}


@pytest.mark.parametrize(
    ("store", "shared"),
    [("sqlite:///mlflow.db", False), ("mlruns", False), ("http://host:5000", True), ("postgresql://host/mlflow", True)],
)
def test_store_on_one_machine_is_refused_for_several_nodes(store: str, shared: bool) -> None:
    """The sentence says which store is needed, and how it is started; one node needs none."""
    check_store(store, n_nodes=1)
    if shared:
        check_store(store, n_nodes=3)
        return
    with pytest.raises(UserError, match=r"3 nodes needs a tracking server.* asks for a password.*_URI=http"):
        check_store(store, n_nodes=3)


def test_what_ray_refuses_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own text has eight lines, such as of the versions on both sides."""
    text = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.1.0\n    Python: 3.9.1\nThis process with 2.60.0"
    )
    monkeypatch.setenv("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    monkeypatch.setattr("ray.init", Mock(side_effect=RuntimeError(text)))
    says = (
        r"Ray does not connect \(Version mismatch: .* Ray: 2\.1\.0 Python: 3\.9\.1 This process with 2\.60\.0\); start"
    )
    with pytest.raises(UserError, match=f"^ray_address=auto: {says}[^\n]*$"):
        Cluster("auto", None, "any").join([], "http://server")


@pytest.mark.usefixtures("local_ray")
def test_worker_without_the_libraries_is_said_in_a_sentence() -> None:
    """The last line of Ray's report names what is missing."""
    assert Cluster("auto", None, "sklearn").cores() == 1
    with pytest.raises(UserError, match=r"^ray_address=auto: .*No module named 'not_there'\); install the libraries"):
        Cluster("auto", None, "not_there").cores()


@dataclass
class Scaled:
    """A cluster, a tracking server, and a copy of the project in a folder that is on no worker's path."""

    nodes: Nodes
    project: Path
    folder: Path
    uri: str

    @property
    def client(self) -> MlflowClient:
        """The server's client."""
        return MlflowClient(self.uri)

    def start(self, name: str, folder: Path | None = None, **params: str) -> Command:
        """Start `mlflow run -e tune` on the cluster, in this folder if it matters."""
        line = project_line("tune", params, self.project)
        env = clean_environment(MLFLOW_TRACKING_URI=self.uri, **TOKEN)
        return Command(line, cwd=folder or self.folder, output=self.folder / name, env=env, warm=True)

    def run(self, name: str, code: str) -> Finished:
        """Run a piece of Python in the project's folder to its end."""
        env = clean_environment(MLFLOW_TRACKING_URI=self.uri, **TOKEN)
        return Command([sys.executable, "-c", code], cwd=self.project, output=self.folder / name, env=env).wait()


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scaled]:
    """Three nodes with four cores, one of which another job has. Only who has the token may use them."""
    folder = tmp_path_factory.mktemp("cluster")
    project = folder / "elsewhere" / "project"
    for name in ("entrypoints", "mlflow_sysmetrics"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("MLproject", "conda.yaml"):
        shutil.copy(ROOT / name, project)
    (folder / "store").mkdir()
    (folder / "nodes").mkdir()
    with (
        tracking_server(folder / "store") as port,
        ray_nodes(folder / "nodes", [2, 1, 1], TOKEN["RAY_AUTH_TOKEN"]) as nodes,
    ):
        yield Scaled(nodes, project, folder, f"http://127.0.0.1:{port}")


WHERE = """
import json, os, ray
from pathlib import Path
from entrypoints.compute.places import Cluster
Cluster({address!r}, None, "json").join([Path({module!r})], "http://server")

@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def where():
    import time, entrypoints.search.trial, mlflow_sysmetrics.ray_tune, own_model
    time.sleep(0.3)
    files = [entrypoints.search.trial.__file__, mlflow_sysmetrics.ray_tune.__file__, own_model.__file__]
    return ray.get_runtime_context().get_node_id(), files, os.environ["OMP_NUM_THREADS"]

print(json.dumps(ray.get([where.remote() for _ in range(8)])))
"""


@pytest.mark.slow
def test_workers_import_what_they_were_sent(scaled: Scaled) -> None:
    """Without the study's environment they know neither package; with it, both come from Ray's own folder."""
    assert not scaled.nodes.ask("imports", "entrypoints")
    assert not scaled.nodes.ask("imports", "mlflow_sysmetrics")
    (scaled.folder / "own_model.py").write_text("")
    module = str(scaled.folder / "own_model.py")
    done = scaled.run("where", WHERE.format(address=scaled.nodes.address, module=module))
    assert done.exit_code == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    assert len({node for node, _, _ in answers}) == 3
    for _, files, threads in answers:
        assert all("/runtime_resources/py_modules_files/" in file for file in files)
        assert threads == "1"


@pytest.fixture(scope="module")
def scaled_study(scaled: Scaled) -> tuple[Finished, Run, list[Run]]:
    """The small study on three nodes, beside another job."""
    scaled.nodes.ask("work")
    done = scaled.start("study", **{**STUDY, "cpus": "all", "ray_address": scaled.nodes.address}).wait()
    assert done.exit_code == 0, done.stderr
    run = runs_of_kind(scaled.client, "study")[0]
    return done, run, children(scaled.client, run, "trial")


@pytest.mark.slow
def test_study_on_three_nodes_has_the_curves_of_one(
    scaled: Scaled, scaled_study: tuple[Finished, Run, list[Run]], study: Study
) -> None:
    """The same best trial, and every point of every curve that is not a cost."""
    _, run, trials = scaled_study
    assert run.data.metrics["best_val_rmse"] == study.run.data.metrics["best_val_rmse"]
    assert len(trials) == len(study.trials) == 8
    for trial in trials:
        searched = {name: trial.data.params[name] for name in ("batch_size", "learning_rate", "alpha")}
        alone = study.trial(**searched)
        for curve in CURVES:
            points = scaled.client.get_metric_history(trial.info.run_id, curve)
            assert {point.step: point.value for point in points} == study.values(alone, curve)


@pytest.mark.slow
def test_study_uses_the_nodes_and_names_them(scaled: Scaled, scaled_study: tuple[Finished, Run, list[Run]]) -> None:
    """Each trial's run says where it ran, and no run is left open."""
    done, run, trials = scaled_study
    assert "Cluster: 4 CPU cores on 3 nodes, 3 of them free" in done.stdout
    assert len({trial.data.tags["sysmetrics.ray_node_id"] for trial in trials}) >= 2
    assert {each.info.status for each in [run, *trials]} == {"FINISHED"}
    assert scaled.client.search_runs(["0"], "attributes.status = 'RUNNING'") == []


@pytest.mark.slow
@pytest.mark.usefixtures("scaled_study")
def test_study_leaves_the_clusters_other_jobs_alone(scaled: Scaled) -> None:
    """The other job's process has kept its memory, and its cluster is up."""
    assert scaled.nodes.ask("work") == 2


@pytest.mark.slow
def test_what_is_no_cluster_is_refused_in_time(scaled: Scaled) -> None:
    """Something answers at the address, which is no Ray; Ray itself would try for a minute."""
    done = scaled.start("refused", ray_address=scaled.uri.removeprefix("http://")).wait()
    assert done.exit_code != 0
    assert "Traceback" not in done.stderr
    assert "no node of a Ray cluster on this machine answers" in done.stderr
    assert done.seconds < RAYS_OWN_TRY_S  # with the start of `mlflow run` and all imports


@pytest.mark.slow
def test_local_store_is_refused_on_the_cluster(scaled: Scaled, empty_store: Path) -> None:
    """Before anything is prepared or run: there is one run, and it says what to do."""
    store = f"sqlite:///{empty_store}/mlflow.db"
    env = clean_environment(RAY_ADDRESS=scaled.nodes.address, MLFLOW_TRACKING_URI=store, **TOKEN)
    line = [sys.executable, "-m", "entrypoints.tune"]
    done = Command(line, cwd=scaled.project, output=empty_store / "output", env=env).wait()
    assert "a study on 3 nodes needs a tracking server" in done.stderr
    (run,) = MlflowClient(store).search_runs(["0"])
    assert run.info.status == "FAILED"


@pytest.mark.slow
def test_own_modules_reach_the_nodes(scaled: Scaled) -> None:
    """Beside the folder of the user, in a package there, and beside the table; with their neighbours."""
    write_own_models(scaled.folder)
    options = {**OF_TABLE, "algorithm": ",".join(ALGORITHMS), "folds": "2", "max_steps": "200"}
    options |= {"space": "{batch_size: 8, alpha: [0.001, 0.01]}"}
    done = scaled.start("own", scaled.folder / "user", **options, ray_address=scaled.nodes.address).wait()
    assert done.exit_code == 0, done.stderr
    trials = children(scaled.client, runs_of_kind(scaled.client, "study")[0], "trial")
    assert {trial.info.status for trial in trials} == {"FINISHED"}
    assert {trial.data.params["algorithm"] for trial in trials} == set(ALGORITHMS)
    assert len({trial.data.tags["sysmetrics.ray_node_id"] for trial in trials}) >= 2


@pytest.mark.slow
def test_cluster_that_wants_a_token_is_named_with_what_it_wants(scaled: Scaled) -> None:
    """A study without it is refused, in time and in a sentence."""
    env = clean_environment(MLFLOW_TRACKING_URI=scaled.uri)
    line = [sys.executable, "-m", "entrypoints.tune", "--ray_address", scaled.nodes.address]
    done = Command(line, cwd=scaled.project, output=scaled.folder / "no-token", env=env).wait()
    assert done.exit_code != 0
    assert "Traceback" not in done.stderr
    assert "RAY_AUTH_MODE=token" in done.stderr


LONG = {
    **STUDY,
    "space": "{batch_size: [64, 128, 256], learning_rate: [0.1, 0.001], alpha: 0.001}",
    "max_steps": "4000",
    "max_epochs": "none",
    "cpus": "all",
}


@pytest.mark.slow
def test_study_survives_the_death_of_a_node(scaled: Scaled) -> None:
    """Its trials begin again elsewhere in the runs that they have; all end, and none is there twice."""
    command = scaled.start("death", **LONG, ray_address=scaled.nodes.address)
    others = set(scaled.nodes.ask("others"))

    def on_them() -> list[Run]:
        running = scaled.client.search_runs(["0"], "attributes.status = 'RUNNING' and params.max_steps = '4000'")
        return [run for run in running if run.data.tags.get("sysmetrics.ray_node_id") in others]

    wait_until(on_them, 300, "a trial on a node that is not the head")
    (victim, *_) = on_them()
    scaled.nodes.ask("kill", victim.data.tags["sysmetrics.ray_node_id"])
    done = command.wait(300)
    assert done.exit_code == 0, done.stderr
    study = runs_of_kind(scaled.client, "study")[0]
    assert study.data.metrics["restarts"] >= 1
    assert "began again" in study.data.tags["mlflow.note.content"]
    trials = children(scaled.client, study, "trial")
    assert len({run.data.tags["mlflow.runName"] for run in trials}) == len(trials) == 6
    assert {run.info.status for run in trials} == {"FINISHED"}
    again = next(run for run in trials if run.info.run_id == victim.info.run_id)
    assert again.data.tags["sysmetrics.ray_node_id"] != victim.data.tags["sysmetrics.ray_node_id"]
    assert scaled.client.search_runs(["0"], "attributes.status = 'RUNNING'") == []
