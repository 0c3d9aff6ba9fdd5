"""What the page on clusters says is true of the project, and Ray takes its example."""

from __future__ import annotations

import configparser
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from commands import Command, clean_environment, wait_until
from ray.autoscaler._private.util import prepare_config, validate_config
from tracking_server import ALONE, answers, free_port

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale-out.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def _libraries() -> set[str]:
    """What conda.yaml has pip install for studies, but for Ray, which a cluster has at one version."""
    dependencies = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    (pip,) = [each["pip"] for each in dependencies if isinstance(each, dict)]
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    tests = config["options.extras_require"]["test"].split()
    return {each for each in pip if not each.startswith("ray") and each not in tests}


def _installed(text: str) -> set[str]:
    return {each for each in re.findall(r"'([^']+)'", text) if not each.startswith("ray")}


def _server() -> list[str]:
    """The words of the command that starts the tracking server."""
    (block,) = [block for block in _blocks("sh") if "mlflow server" in block]
    return shlex.split(block.partition("set +a")[2].replace("\\\n", ""))


def _secrets() -> dict[str, str]:
    """The server's variables, with a value each."""
    (block,) = [block for block in _blocks("sh") if "PGPASSWORD=" in block]
    return {name: f"secret of {name}" for name in re.findall(r"^(\w+)=", block, re.MULTILINE)}


@pytest.mark.slow
def test_server_lets_in_who_has_the_password(tmp_path: Path) -> None:
    """The page's own command, but for its address, its database and its folder."""
    port = free_port()
    _, *words = _server()
    places = {
        "10.0.0.1": "127.0.0.1",
        "5000": str(port),
        "4": "1",
        "postgresql+psycopg2://mlflow@localhost/mlflow": f"sqlite:///{tmp_path}/mlflow.db",
        "/srv/mlflow-artifacts": str(tmp_path / "artifacts"),
    }
    line = [sys.executable, "-m", "mlflow", *(places.get(word, word) for word in words)]
    server = Command(line, cwd=tmp_path, output=tmp_path / "output", env=clean_environment(**ALONE, **_secrets()))
    try:
        wait_until(lambda: answers(port), 120, "the server's answer")
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=0"
        password = _secrets()["MLFLOW_AUTH_ADMIN_PASSWORD"]
        codes = [requests.get(url, auth=auth).status_code for auth in (None, ("admin", "no"), ("admin", password))]
    finally:
        server.kill()
    assert codes == [401, 401, 200]


def test_ray_up_takes_the_example() -> None:
    """Ray's own schema of such files has nothing against it."""
    ray_up: dict[str, Any] = yaml.safe_load(_blocks("yaml")[0])
    validate_config(prepare_config(ray_up))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(" ".join(yaml.safe_load(_blocks("yaml")[0])["setup_commands"]), id="ray-up"),
        pytest.param(_blocks("dockerfile")[0], id="image"),
    ],
)
def test_workers_get_the_libraries_of_the_environment(text: str) -> None:
    """At the versions that the study itself is installed with."""
    assert _installed(text) == _libraries()
