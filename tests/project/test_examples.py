"""Each example runs as its README says, and leaves what its first line promises."""

import re
import shlex
import shutil
import subprocess

import pytest
import requests
from commands import ROOT, Command, clean_environment, store_uri, wait_until
from mlflow import MlflowClient
from servers import ALONE, answers, free_port

pytestmark = pytest.mark.slow
LIMIT_S = 600.0
# fmt: off
SUMMARY = {
    "elapsed_s", "cpu_seconds", "user_cpu_seconds", "system_cpu_seconds", "mean_cpu_percent", "peak_memory_mb",
    "memory_growth_mb", "read_mb", "write_mb",
}
# fmt: on
EXAMPLES = {  # how many runs each leaves but for those around them, their phases, and what stopped one of them
    "loop_of_runs.py": (3, "", ""),
    "notebook.ipynb": (1, "load train", ""),
    "project": (1, "", ""),
    "sklearn_script.py": (1, "load train score", ""),
    "training_loop.py": (1, "train", "elapsed_s"),
    "tune_artifacts.py": (2, "", ""),
    "tune_script.py": (2, "", "memory_growth_mb"),
    "xgboost_rounds.py": (1, "", ""),
}
NEEDS = {"xgboost_rounds.py": ["xgboost"], "notebook.ipynb": ["nbclient", "ipykernel"]}


def test_each_example_is_run():
    """Here; that of the gate has a test of its own."""
    assert {path.name for path in (ROOT / "examples").iterdir()} == EXAMPLES.keys() | {"README.md", "gate"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_leaves_its_summaries_and_phases(empty_store, example):
    """It is typed as the README says, in a copy of the folder of all. Its runs have ended."""
    for package in NEEDS.get(example, []):
        pytest.importorskip(package)
    folder = shutil.copytree(ROOT / "examples", empty_store / "examples")
    (line,) = re.findall(rf"^\| `([^`]*\b{example}\b[^`]*)` \|", (folder / "README.md").read_text(), re.MULTILINE)
    if line == example:
        line = f"jupyter execute {example}"
    env = clean_environment(
        MLFLOW_TRACKING_URI=store_uri(empty_store), MLFLOW_SYSMETRICS_SPOOL=str(empty_store / "spools")
    )
    done = subprocess.run(shlex.split(line), cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = MlflowClient(store_uri(empty_store)).search_runs(["0"])
    runs = [run for run in found if run.data.tags.get("sysmetrics.kind") != "study"]
    count, phases, stopped_by = EXAMPLES[example]
    assert len(runs) == count
    wanted = SUMMARY | {f"phase/{phase}/elapsed_s" for phase in phases.split()}
    assert all(run.data.metrics.keys() >= wanted for run in runs)
    statuses = {"FINISHED", "KILLED"} if example == "tune_script.py" else {"FINISHED"}
    assert {run.info.status for run in runs} == statuses
    reasons = [run.data.tags.get("sysmetrics.stop_reason", "").split() for run in runs]
    assert [words[0] for words in reasons if words] == stopped_by.split()


def test_server_for_a_cluster_lets_in_who_has_the_password(tmp_path):
    """By the page's own command, but for its address, its database and its folder."""
    page, port = (ROOT / "docs" / "scale-out.md").read_text(), free_port()
    (line,) = re.findall(r"^mlflow server (?:.*\\\n)+.*$", page, re.MULTILINE)
    secrets = {name: f"secret of {name}" for name in re.findall(r"^(\w+)=\.\.\. ", page, re.MULTILINE)}
    places = {
        "10.0.0.1": "127.0.0.1",
        "5000": str(port),
        "4": "1",
        "postgresql+psycopg2://mlflow@localhost/mlflow": store_uri(tmp_path),
        "/srv/mlflow-artifacts": str(tmp_path / "artifacts"),
    }
    words = [places.get(word, word) for word in shlex.split(line.replace("\\\n", ""))]
    server = Command(words, cwd=tmp_path, output=tmp_path / "output", env=clean_environment(**ALONE, **secrets))
    try:
        wait_until(lambda: answers(port), LIMIT_S, "the server's answer")
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=0"
        password = secrets["MLFLOW_AUTH_ADMIN_PASSWORD"]
        codes = [requests.get(url, auth=auth).status_code for auth in (None, ("admin", "no"), ("admin", password))]
    finally:
        server.kill()
    assert codes == [401, 401, 200]
