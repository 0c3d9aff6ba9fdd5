"""The steps of the pipelines on the page about CI, typed in a clean folder: a change passes, a worse one does not."""

import subprocess
import sys

import pandas as pd
import pytest
import yaml
from cases import cases
from commands import ROOT, clean_environment, store_uri
from mlflow import MlflowClient
from sklearn.datasets import load_diabetes
from test_docs import blocks

pytestmark = pytest.mark.slow
LIMIT_S = 600.0
GITHUB, GITLAB = (yaml.safe_load(block) for block in blocks("yaml", "ci"))
SIDES = {
    "github": [step["run"] for step in GITHUB["jobs"]["check"]["steps"] if "run" in step],
    "gitlab": GITLAB["check"]["script"],
}


@cases("pipeline", SIDES)
def test_pipeline_lets_a_change_through_and_stops_one_that_is_worse(pipeline, tmp_path):
    """From an empty store to a champion; then the champion stays."""
    work = tmp_path / "work"
    work.mkdir()
    code, uri = (ROOT / "examples/gate/train.py").read_text(), store_uri(tmp_path)
    git = ["git", "-C", str(work), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "-q"], check=True)

    def commit(text):
        (work / "train.py").write_text(text)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "a change"], check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()

    def run(base):
        event = {"BASE": base, "CI_COMMIT_BEFORE_SHA": base, "CI_PIPELINE_SOURCE": "push"}
        event["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")
        script = "\n".join(step for step in SIDES[pipeline] if "pip install" not in step)
        script = script.replace("--lower rmse", "--lower rmse --tolerate cpu_seconds=1000%")  # beside other tests
        environment = clean_environment(MLFLOW_TRACKING_URI=uri, **event)
        return subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=work, env=environment).returncode

    first = commit(code)
    second = commit(code.replace("Train a model", "Train a ridge"))
    assert run(first) == 0
    client = MlflowClient(uri)
    assert client.get_model_version_by_alias("diabetes", "champion").version == 1
    commit(code.replace("default=0.1", "default=100"))
    assert run(second) == 1
    assert client.get_model_version_by_alias("diabetes", "champion").version == 1
    (worse,) = client.search_runs(["0"], "tags.`sysmetrics.verdict` = 'worse'")
    assert worse.data.tags["sysmetrics.verdict.rmse"] == "worse"


GITHUB_MODELS, GITLAB_MODELS = (yaml.safe_load(block) for block in blocks("yaml", "served"))
OF_MODELS = {
    "github": [step["run"] for step in GITHUB_MODELS["jobs"]["promote"]["steps"] if "run" in step],
    "gitlab": GITLAB_MODELS["promote"]["script"],
}


@cases("pipeline", OF_MODELS)
def test_pipeline_promotes_a_version_that_is_not_worse(pipeline, tmp_path):
    """Here one that is the same model."""
    environment = clean_environment(MLFLOW_TRACKING_URI=store_uri(tmp_path), VERSION="2")
    environment["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")
    train = [sys.executable, str(ROOT / "examples/gate/train.py"), "--champion"]
    for _ in range(2):
        subprocess.run(train, cwd=tmp_path, env=environment, check=True)
    client = MlflowClient(store_uri(tmp_path))
    client.set_registered_model_alias("diabetes", "champion", "1")
    X, y = load_diabetes(return_X_y=True)
    pd.DataFrame(X).assign(y=y).to_csv(tmp_path / "holdout.csv", index=False)
    script = "\n".join(step for step in OF_MODELS[pipeline] if "pip install" not in step)
    script = script.replace("--lower rmse", "--lower rmse --tolerate served_cpu_ms=1000%")  # beside other tests
    subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=True)
    assert client.get_model_version_by_alias("diabetes", "champion").version == 2
