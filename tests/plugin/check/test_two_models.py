"""`mlflow-sysmetrics check` of two models: real servers, the verdict, and the alias that moves or stays."""

import json
from collections.abc import Callable
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from commands import copy_store, in_use
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema

from mlflow_sysmetrics.check.contest import CheckError, compare
from mlflow_sysmetrics.check.losses import compared_loss
from mlflow_sysmetrics.check.models import Models, both_models
from mlflow_sysmetrics.check.output import Result
from mlflow_sysmetrics.check.promotion import Promotion
from mlflow_sysmetrics.check.verdict import PASSES, SERVED_CPU, SERVED_MEMORY, Finding
from mlflow_sysmetrics.command.cli import main
from mlflow_sysmetrics.served import ServerError

Check = Callable[..., str]
ANY_CPU = ("--tolerate", "served_cpu_ms=1000%")  # beside other tests


@pytest.fixture
def registry(logged, tmp_path):
    """The registered model `sum`: version 1 is the champion, 2 the same model, 3 is worse and larger."""
    copy_store(logged.folder, tmp_path / "store")
    with in_use(tmp_path / "store") as client:
        for name in ("sum", "worse"):
            client.create_model_version("sum", logged.uris[name], model_id=logged.uris[name].removeprefix("models:/"))
        yield client


@pytest.fixture
def check(registry, tmp_path):
    """Run a check to its end, on rows whose target is the sum of their columns and some noise."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.random((250, 2)), columns=["a", "b"])
    rows["y"] = rows.a + rows.b + random.normal(scale=0.1, size=250)
    rows["patient"] = np.arange(250) // 5
    rows["doctor"] = rows.patient.where(rows.index != 7)
    rows["sick"] = np.where(rows.y > 1, "yes", "no")
    rows.to_csv(tmp_path / "rows.csv", index=False)

    def check(*arguments, code):
        data = ("--data", str(tmp_path / "rows.csv"))
        result = CliRunner().invoke(main, ["check", *arguments, *data])
        assert result.exit_code == code, result.output
        assert not isinstance(result.exception, Exception)
        return result.stdout or result.stderr

    return check


BOTH = ("models:/sum@champion", "models:/sum/2", "--target", "y", "--lower", "rmse")


@pytest.mark.slow
def test_model_that_is_worse_and_larger_leaves_the_champion_where_it_is(check, registry):
    """The run of the check has all of it, and below it is a run for each server."""
    both = ("models:/sum/1", "models:/sum/3", "--target", "y", "--lower", "rmse", "--group", "patient")
    said = json.loads(check(*both, *ANY_CPU, "--promote", "champion", "--format", "json", code=1))
    assert said["verdict"] == "worse"
    verdicts = {each["name"]: each["verdict"] for each in said["metrics"]}
    assert list(verdicts) == ["rmse", "served_cpu_ms", "served_memory_mb"]
    assert (verdicts["rmse"], verdicts["served_memory_mb"]) == ("worse", "worse")
    assert registry.get_model_version_by_alias("sum", "champion").version == 1
    below = registry.search_runs(["0"], "tags.`sysmetrics.side` = 'candidate'")
    memory = said["runs"]["candidate"]["served_memory_mb"]
    assert sorted(each.data.metrics["served_memory_mb"] for each in below) == sorted(memory)


@pytest.mark.parametrize(("beside", "count"), [(0, 5), (20, 7)])
def test_pairs_run_until_all_costs_are_decided(store_in_use, beside, count):
    """With losses beside them, which share the error, a change has to stand out more."""
    memory_mb = [1.03, 1.06, 1.04, 1.05, 1.05, 1.04, 1.05]
    costs = [{"served_cpu_ms": 2.0, "served_memory_mb": value} for value in memory_mb]
    losses = [Finding("rmse", PASSES, "%", 0.0, 0.0, 0.0)] * beside
    contest = Mock(how="")
    contest.warm_up.return_value = losses
    contest.run.side_effect = [(dict.fromkeys(each, 1.0), each) for each in costs]
    result = compare(contest, [SERVED_CPU, SERVED_MEMORY], "two models", {})
    assert (result.verdict, result.pairs) == ("worse", count)


@pytest.mark.parametrize(("together", "verdict"), [(3, "worse"), (4, "cannot be judged")])
def test_loss_shares_the_error_with_the_costs_beside_it(together, verdict):
    """The more there are, the more a change has to stand out: this one does beside two, and not beside three."""
    truth = np.random.default_rng(0).random(250)
    noise = 0.283 * (-1.0) ** np.arange(250)
    contest = Models([], [compared_loss("mae")], truth, np.arange(250), together)
    (mae,) = contest.judge([truth + 1, truth + 1.05 + noise])
    assert mae.verdict == verdict


def test_alias_that_somebody_has_moved_meanwhile_stays(registry):
    promotion = Promotion.of("champion", "models:/sum/1", "models:/sum/2")
    registry.set_registered_model_alias("sum", "champion", "3")
    with pytest.raises(CheckError, match="is version 3 now, it was 1 when the check began: it stays"):
        promotion.move()
    assert registry.get_model_version_by_alias("sum", "champion").version == 3


@pytest.mark.parametrize(
    ("verdict", "code", "version"), [("passes", 0, 2), ("worse", 1, 1), ("cannot be judged", 3, 1)]
)
def test_candidate_becomes_the_champion_only_if_it_passes(check, registry, monkeypatch, verdict, code, version):
    found = Result([Finding("rmse", verdict, "%", 0.0, 0.0, 0.0)], 3, "", {})
    monkeypatch.setattr("mlflow_sysmetrics.check.two_models.compare", lambda *arguments: found)
    check(*BOTH, "--promote", "champion", code=code)
    assert registry.get_model_version_by_alias("sum", "champion").version == version


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        pytest.param((*BOTH[:2], "--target", "z", "--lower", "rmse"), 2, "no such column, but a, b, y", id="z"),
        pytest.param((*BOTH, "--group", "doctor"), 2, "--group doctor: the column has empty cells", id="empty cell"),
        pytest.param((*BOTH[:2], "--target", "sick", "--lower", "rmse"), 2, "sick is not numeric", id="text"),
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
def test_mistake_is_a_sentence(check, arguments, code, why):
    assert why in check(*arguments, code=code).splitlines()[-1]


def test_column_of_groups_is_only_for_a_model_that_names_it(tmp_path):
    """One without a signature would take each column that is there."""
    names_it = ModelSignature(Schema([ColSpec("double", "a"), ColSpec("long", "patient")]))
    for name, signature in (("baseline", names_it), ("candidate", None)):
        (tmp_path / name).mkdir()
        Model(signature=signature).save(str(tmp_path / name / "MLmodel"))
    rows = pd.DataFrame({"a": [0.5], "patient": [7]})
    with both_models(str(tmp_path / "baseline"), str(tmp_path / "candidate"), rows, "patient") as models:
        assert [list(model.table) for model in models] == [["a", "patient"], ["a"]]


@pytest.mark.parametrize(("place", "code"), [(0, 3), (1, 1)], ids=["baseline", "candidate"])
def test_side_that_cannot_be_served_decides_the_exit_code(check, monkeypatch, place, code):
    broken = BOTH[place].replace("@champion", "/1")
    monkeypatch.setattr("mlflow_sysmetrics.check.models.serving", Mock(side_effect=ServerError(broken, "is broken")))
    assert f"{broken} is broken" in check(*BOTH, code=code)
