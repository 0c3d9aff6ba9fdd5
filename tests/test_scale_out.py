"""What the page on clusters says is true of the project, and Ray takes its example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "scale-out.md").read_text()
TUNE = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]["tune"]["parameters"]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def _libraries() -> set[str]:
    """What conda.yaml has pip install, but for Ray, which a cluster has at one version."""
    dependencies = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    (pip,) = [each["pip"] for each in dependencies if isinstance(each, dict)]
    return {each for each in pip if not each.startswith("ray")}


def _installed(text: str) -> set[str]:
    return {each for each in re.findall(r"'([^']+)'", text) if not each.startswith("ray")}


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


def test_the_job_runs_on_the_cluster_of_the_example() -> None:
    """Both parts of the file name the same cluster, and the same version of Ray as the image."""
    cluster, job = yaml.safe_load_all(_blocks("yaml")[1])
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert f"ray:{cluster['spec']['rayVersion']}-" in _blocks("dockerfile")[0]


def test_every_parameter_on_the_page_exists() -> None:
    """A command that is copied from it is not refused."""
    named = set(re.findall(r"-P (\w+)=", PAGE))
    assert named
    assert named <= set(TUNE)
