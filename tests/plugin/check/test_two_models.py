"""`mlflow-sysmetrics check` of two models: real servers, the verdict, and the alias that moves or stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from commands import copy_store, in_use
from mlflow import MlflowClient
from served_models import Models

from mlflow_sysmetrics.check.promotion import Promotion
from mlflow_sysmetrics.check.sides import CheckError
from mlflow_sysmetrics.command.cli import main

ANY_CPU = ("--tolerate", "served_cpu_ms=1000%")  # beside other tests


@pytest.fixture
def registry(logged: Models, tmp_path: Path) -> Iterator[MlflowClient]:
    """The registered model `sum`: version 1 is the champion, 2 the same model, 3 is worse and larger."""
    copy_store(logged.folder, tmp_path / "store")
    with in_use(tmp_path / "store") as client:
        for name in ("sum", "worse"):
            client.create_model_version("sum", logged.uris[name], model_id=logged.uris[name].removeprefix("models:/"))
        yield client


@pytest.fixture
def check(registry: MlflowClient, tmp_path: Path) -> Callable[..., str]:
    """Run a check to its end, on rows whose target is the sum of their columns and some noise."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.random((250, 2)), columns=["a", "b"])
    rows["y"] = rows.a + rows.b + random.normal(scale=0.1, size=250)
    rows["patient"] = np.arange(250) // 5
    rows.to_csv(tmp_path / "rows.csv", index=False)

    def check(*arguments: str, code: int) -> str:
        data = ("--data", str(tmp_path / "rows.csv"))
        result = CliRunner().invoke(main, ["check", *arguments, *data])
        assert result.exit_code == code, result.output
        assert not isinstance(result.exception, Exception)
        return result.stdout or result.stderr

    return check


BOTH = ("models:/sum@champion", "models:/sum/2", "--target", "y", "--lower", "rmse")


@pytest.mark.slow
def test_model_that_is_not_worse_becomes_the_champion(check: Callable[..., str], registry: MlflowClient) -> None:
    said = check(*BOTH, *ANY_CPU, "--promote", "champion", code=0)
    assert said.startswith("passes: nothing is worse")
    assert "rmse: passes, " in said
    assert "losses hold if neither was trained on these 250 rows" in said
    assert registry.get_model_version_by_alias("sum", "champion").version == 2


@pytest.mark.slow
def test_model_that_is_worse_and_larger_leaves_the_champion_where_it_is(
    check: Callable[..., str], registry: MlflowClient
) -> None:
    """The run of the check has all of it, and below it is a run for each server."""
    both = ("models:/sum/1", "models:/sum/3", "--target", "y", "--lower", "rmse", "--group", "patient")
    said = json.loads(check(*both, *ANY_CPU, "--promote", "champion", "--format", "json", code=1))
    assert said["verdict"] == "worse"
    verdicts = {each["name"]: each["verdict"] for each in said["metrics"]}
    assert list(verdicts) == ["rmse", "served_cpu_ms", "served_memory_mb"]
    assert (verdicts["rmse"], verdicts["served_memory_mb"]) == ("worse", "worse")
    assert registry.get_model_version_by_alias("sum", "champion").version == 1
    (run,) = registry.search_runs(["0"], "tags.`sysmetrics.kind` = 'check'")
    assert run.data.tags["sysmetrics.verdict.rmse"] == "worse"
    below = registry.search_runs(["0"], f"tags.mlflow.parentRunId = '{run.info.run_id}'")
    assert len(below) == 2 * said["pairs"]
    memory = said["runs"]["candidate"]["served_memory_mb"]
    logged = [each for each in below if each.data.tags["sysmetrics.side"] == "candidate"]
    assert sorted(each.data.metrics["served_memory_mb"] for each in logged) == sorted(memory)


def test_alias_that_somebody_has_moved_meanwhile_stays(registry: MlflowClient) -> None:
    promotion = Promotion.of("champion", "models:/sum/1", "models:/sum/2")
    registry.set_registered_model_alias("sum", "champion", "3")
    with pytest.raises(CheckError, match="is version 3 now, it was 1 when the check began: it stays"):
        promotion.move()
    assert registry.get_model_version_by_alias("sum", "champion").version == 3


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        pytest.param((*BOTH[:2], "--target", "z", "--lower", "rmse"), 2, "no such column, but a, b, y", id="z"),
        pytest.param((*BOTH, "--tolerate", "rmse=1sd"), 2, "the names here are rmse, served_cpu_ms", id="sd"),
        pytest.param(
            ("models:/sum/2", "models:/sum/3", *BOTH[2:], "--promote", "champion"),
            2,
            "models:/sum@champion is version 1, so give that as the baseline",
            id="another champion",
        ),
        pytest.param(("models:/sum@nobody", *BOTH[1:]), 2, "alias nobody not found", id="no alias"),
    ],
)
def test_mistake_is_a_sentence(check: Callable[..., str], arguments: tuple[str, ...], code: int, why: str) -> None:
    assert why in check(*arguments, code=code).splitlines()[-1]


@pytest.mark.slow
def test_side_that_cannot_be_served_decides_the_exit_code(check: Callable[..., str], logged: Models) -> None:
    broken = logged.uris["lacks package"]
    assert "No module named" in check(broken, *BOTH[1:], code=3)
    assert "No module named" in check(BOTH[0], broken, *BOTH[2:], code=1)
