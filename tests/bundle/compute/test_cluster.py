"""A study on a Ray cluster of several nodes, whose workers have the libraries and nothing of this project."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import pytest
from cases import cases
from commands import ROOT, STUDY, Command, children, clean_environment, project_line, runs_of_kind, wait_until
from mlflow import MlflowClient
from own_models import ALGORITHMS, OF_TABLE, write_own_models
from ray_nodes import Nodes, ray_nodes
from servers import tracking_server

from entrypoints.compute.backends import Cluster, check_store
from entrypoints.errors import UserError

CURVES = ("train_loss", "val_loss", "val_rmse")
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-cluster"}


@cases("store", ["sqlite:///mlflow.db", "mlruns"])
def test_store_on_one_machine_is_refused_for_several_nodes(store):
    """The sentence says which store is needed, and how it is started; one node needs none."""
    check_store(store, n_nodes=1)
    with pytest.raises(UserError, match=r"2 nodes needs a tracking server.* asks for a password.*_URI=http"):
        check_store(store, n_nodes=2)
    for shared in ("http://host:5000", "postgresql://host/mlflow"):
        check_store(shared, n_nodes=2)


def test_what_ray_refuses_is_said_in_a_sentence(monkeypatch):
    """Ray's own text has eight lines, such as of the versions on both sides."""
    text = "Version mismatch: started with:\n    Ray: 2.1.0\n    Python: 3.9.1\nThis process with 2.60.0"
    monkeypatch.setenv("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    monkeypatch.setattr("ray.init", Mock(side_effect=RuntimeError(text)))
    with pytest.raises(UserError, match=r"\(Version mismatch: .* Python: 3\.9\.1 This process with 2\.60\.0\); start"):
        Cluster("auto", None, "any").join([], "http://server")


@pytest.mark.usefixtures("local_ray")
def test_worker_without_the_libraries_is_said_in_a_sentence():
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
    def client(self):
        """The server's client."""
        return MlflowClient(self.uri)

    def start(self, name, folder=None, **params):
        """Start `mlflow run -e tune` on the cluster, in this folder if it matters."""
        line = project_line("tune", params, self.project)
        env = clean_environment(MLFLOW_TRACKING_URI=self.uri, **TOKEN)
        return Command(line, cwd=folder or self.folder, output=self.folder / name, env=env, warm=True)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """Three nodes with four cores, one of which another job has. Only who has the token may use them.

    Each has an older copy of the project, which cannot be imported.
    """
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
        (libraries,) = (folder / "nodes" / "python").glob("lib/*/site-packages")
        for name in ("entrypoints", "mlflow_sysmetrics"):
            (libraries / name).mkdir()
            (libraries / name / "__init__.py").write_text("raise RuntimeError('an older copy')")
        yield Scaled(nodes, project, folder, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def scaled_study(scaled):
    """The small study on three nodes, beside another job. What the nodes run of it is what they were sent."""
    scaled.nodes.ask("work")
    done = scaled.start("study", **{**STUDY, "cpus": "all", "ray_address": scaled.nodes.address}).wait()
    assert done.exit_code == 0, done.stderr
    run = runs_of_kind(scaled.client, "study")[0]
    return done, run, children(scaled.client, run, "trial")


@pytest.mark.slow
def test_study_on_three_nodes_has_the_curves_of_one(scaled, scaled_study, study):
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
def test_study_uses_the_nodes_and_leaves_other_jobs_alone(scaled, scaled_study):
    """Each trial's run says where it ran; no run is left open. The other job's process has kept its memory."""
    done, run, trials = scaled_study
    assert "Cluster: 4 CPU cores on 3 nodes, 3 of them free" in done.stdout
    assert len({trial.data.tags["sysmetrics.ray_node_id"] for trial in trials}) >= 2
    assert {each.info.status for each in [run, *trials]} == {"FINISHED"}
    assert scaled.client.search_runs(["0"], "attributes.status = 'RUNNING'") == []
    assert scaled.nodes.ask("work") == 2


@pytest.mark.slow
def test_own_modules_reach_the_nodes(scaled):
    """Beside the folder of the user, in a package there, and beside the table; with their neighbours.

    Two cores, and no more processes, are used of three that are free.
    """
    scaled.nodes.ask("work")  # of the node with two cores it has one
    write_own_models(scaled.folder)
    options = {**OF_TABLE, "algorithm": ",".join(ALGORITHMS), "folds": "2", "length": "200 steps"}
    options |= {"space": "{batch_size: 8, alpha: [0.001, 0.01]}", "cpus": "2", "served": "none"}
    done = scaled.start("own", scaled.folder / "user", **options, ray_address=scaled.nodes.address).wait()
    assert done.exit_code == 0, done.stderr
    trials = children(scaled.client, runs_of_kind(scaled.client, "study")[0], "trial")
    assert {trial.info.status for trial in trials} == {"FINISHED"}
    assert {trial.data.params["algorithm"] for trial in trials} == set(ALGORITHMS)
    assert "on 2 CPU cores" in done.stdout
    assert len({trial.data.tags["sysmetrics.pid"] for trial in trials}) == 2 < len(trials)
    assert len({trial.data.tags["sysmetrics.ray_node_id"] for trial in trials}) >= 2


LONG = {
    **STUDY,
    "space": "{batch_size: [64, 128, 256], learning_rate: [0.1, 0.001], alpha: 0.001}",
    "length": "12000 steps",
    "cpus": "all",
}


@pytest.mark.slow
def test_study_survives_the_death_of_a_node(scaled):
    """Its trials begin again elsewhere in the runs that they have; all end, and none is there twice."""
    command = scaled.start("death", **LONG, ray_address=scaled.nodes.address)
    others = set(scaled.nodes.ask("others"))

    def on_them():
        """Trials under way there that do not diverge, which takes no time."""
        wanted = "attributes.status = 'RUNNING' and params.length = '12000 steps' and params.learning_rate = '0.001'"
        running = scaled.client.search_runs(["0"], wanted)
        return [run for run in running if run.data.tags.get("sysmetrics.ray_node_id") in others]

    wait_until(on_them, 900, "a trial on a node that is not the head")
    (victim, *_) = on_them()
    scaled.nodes.ask("kill", victim.data.tags["sysmetrics.ray_node_id"])
    done = command.wait()
    assert done.exit_code == 0, done.stderr
    study = runs_of_kind(scaled.client, "study")[0]
    assert study.data.metrics["restarts"] >= 1
    trials = children(scaled.client, study, "trial")
    assert len({run.data.tags["mlflow.runName"] for run in trials}) == len(trials) == 6
    assert {run.info.status for run in trials} == {"FINISHED"}
    again = next(run for run in trials if run.info.run_id == victim.info.run_id)
    assert again.data.tags["sysmetrics.ray_node_id"] != victim.data.tags["sysmetrics.ray_node_id"]
    assert scaled.client.search_runs(["0"], "attributes.status = 'RUNNING'") == []
