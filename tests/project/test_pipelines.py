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
TRAIN = ROOT / "examples/gate/train.py"
GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@x")


def scripts(page, job, cost):
    """The steps of a page's pipelines that run a check, by service; any `cost` passes, beside other tests."""
    github, gitlab = (yaml.safe_load(block) for block in blocks("yaml", page))
    lines = {
        "github": [step["run"] for step in github["jobs"][job]["steps"] if "run" in step],
        "gitlab": gitlab[job]["script"],
    }
    found = {}
    for service, steps in lines.items():
        script = "\n".join(step for step in steps if "pip install" not in step)
        found[service] = script.replace("--lower rmse", f"--lower rmse --tolerate {cost}=1000%")
    return found


def exit_code(script, folder, **settings):
    """That of a script in a folder."""
    settings |= {"GITHUB_STEP_SUMMARY": str(folder.parent / "summary.md")}
    environment = clean_environment(MLFLOW_TRACKING_URI=store_uri(folder.parent), **settings)
    return subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=folder, env=environment).returncode


@pytest.fixture
def work(tmp_path):
    """A folder whose store is in the one around it."""
    work = tmp_path / "work"
    work.mkdir()
    return work


def commit(folder, code):
    """The id of a commit of this code."""
    (folder / "train.py").write_text(code)
    for words in ("init -q", "add .", "commit -q -m change", "rev-parse HEAD"):
        answer = subprocess.check_output([*GIT, *words.split()], cwd=folder, text=True)
    return answer.strip()


def test_pipeline_lets_a_change_through_and_stops_one_that_is_worse(work):
    """From an empty store to a champion, by GitLab's; then the champion stays, by GitHub's, whose check has a pipe."""
    of_service = scripts("ci", "check", "cpu_seconds")
    code, client = TRAIN.read_text(), MlflowClient(store_uri(work.parent))

    def run(service, base):
        return exit_code(of_service[service], work, BASE=base, CI_COMMIT_BEFORE_SHA=base, CI_PIPELINE_SOURCE="push")

    first = commit(work, code)
    second = commit(work, code.replace("Train a model", "Train a ridge"))
    assert run("gitlab", first) == 0
    assert client.get_model_version_by_alias("diabetes", "champion").version == 1
    commit(work, code.replace("default=0.1", "default=100"))
    assert run("github", second) == 1
    assert client.get_model_version_by_alias("diabetes", "champion").version == 1
    (worse,) = client.search_runs(["0"], "tags.`sysmetrics.verdict` = 'worse'")
    assert worse.data.tags["sysmetrics.verdict.rmse"] == "worse"


@cases("script", scripts("served", "promote", "served_cpu_ms"))
def test_pipeline_promotes_a_version_that_is_not_worse(script, work):
    """Here one that is the same model."""
    client = MlflowClient(store_uri(work.parent))
    for _ in range(2):
        assert exit_code(f"{sys.executable} {TRAIN} --champion", work) == 0
    client.set_registered_model_alias("diabetes", "champion", "1")
    X, y = load_diabetes(return_X_y=True)
    pd.DataFrame(X).assign(y=y).to_csv(work / "holdout.csv", index=False)
    assert exit_code(script, work, VERSION="2") == 0
    assert client.get_model_version_by_alias("diabetes", "champion").version == 2
