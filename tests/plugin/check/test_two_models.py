"""`mlflow-sysmetrics check` of two models: real servers, the verdict, and the alias that moves or stays."""

import json
import shlex
from dataclasses import dataclass, replace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from cases import cases, rows
from click.testing import CliRunner
from commands import copy_store, in_use
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema

from mlflow_sysmetrics.check.contest import CheckError, compare
from mlflow_sysmetrics.check.models import Models, both_models
from mlflow_sysmetrics.check.output import Result
from mlflow_sysmetrics.check.promotion import Promotion
from mlflow_sysmetrics.check.scores import compared_score
from mlflow_sysmetrics.check.verdict import PASSES, SERVED_CPU, SERVED_MEMORY, Finding
from mlflow_sysmetrics.command.cli import main
from mlflow_sysmetrics.served import ServerError


@pytest.fixture
def registry(logged, tmp_path):
    """The registered model `sum`: version 1 is the champion, 2 a copy of it, 3 is worse and larger."""
    copy_store(logged.folder, tmp_path / "store")
    with in_use(tmp_path / "store") as client:
        for name in ("copy", "worse"):
            client.create_model_version("sum", logged.uris[name], model_id=logged.uris[name].removeprefix("models:/"))
        yield client


@pytest.fixture
def check(registry, tmp_path):
    """Run a check to its end, on rows whose target is the sum of their columns and some noise."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.random((250, 2)), columns=["a", "b"])
    table["y"] = table.a + table.b + random.normal(scale=0.1, size=250)
    table["patient"] = np.arange(250) // 5
    table["doctor"] = table.patient.where(table.index != 7)
    table["rare"] = table.index < 3
    table["sick"] = np.where(table.y > 1, "yes", "no")
    table.to_csv(tmp_path / "rows.csv", index=False, sep=";", decimal=",")

    def check(line, code):
        line = f"check {line} --data {tmp_path / 'rows.csv'}"
        result = CliRunner().invoke(main, shlex.split(line))
        assert result.exit_code == code, result.output
        assert not isinstance(result.exception, Exception)
        return result.stdout or result.stderr

    return check


BOTH = "models:/sum@champion models:/sum/2 --target y --lower rmse"


@pytest.mark.slow
def test_model_that_is_worse_and_larger_leaves_the_champion_where_it_is(check, registry):
    """The run of the check has all of it, and below it is a run for each server."""
    options = "--target y --lower rmse --group patient --promote champion --format json"
    any_cpu_and_rmse = "--tolerate served_cpu_ms=1000%,rmse=1000%"  # beside other tests
    said = json.loads(check(f"models:/sum/1 models:/sum/3 {options} {any_cpu_and_rmse}", code=1))
    assert said["verdict"] == "worse"
    verdicts = {each["name"]: each["verdict"] for each in said["metrics"]}
    assert verdicts == {"rmse": "passes", "served_cpu_ms": "passes", "served_memory_mb": "worse"}
    assert registry.get_model_version_by_alias("sum", "champion").version == 1
    below = registry.search_runs(["0"], "tags.`sysmetrics.side` = 'candidate'")
    memory = said["runs"]["candidate"]["served_memory_mb"]
    assert sorted(each.data.metrics["served_memory_mb"] for each in below) == sorted(memory)


@pytest.mark.slow
def test_probabilities_are_asked_for_and_a_worse_score_is_the_end(check, logged, registry):
    """No pair runs after it."""
    both = f"{logged.uris['chance']} {logged.uris['other chance']} --target sick --positive yes"
    said = json.loads(check(f"{both} --higher roc_auc --lower log_loss --format json", code=1))
    verdicts = {each["name"]: each["verdict"] for each in said["metrics"]}
    assert verdicts == {"log_loss": "worse", "roc_auc": "passes"}  # which knows only the order
    (run,) = registry.search_runs(["0"], "tags.`sysmetrics.kind` = 'check'")
    assert (run.info.status, run.data.metrics["pairs"]) == ("FAILED", 0)


@dataclass
class Replayed:
    """A contest whose findings and costs of pairs are known."""

    scores: list
    memory_mb: list
    how: str = ""

    def warm_up(self, parent):
        return self.scores

    def run(self, parent, pair):
        costs = {"served_cpu_ms": 2.0, "served_memory_mb": self.memory_mb[pair - 1]}
        return dict.fromkeys(costs, 1.0), costs


PASSING = Finding("rmse", PASSES, "%", 0.0, 0.0, 0.0)


@cases(
    "scores, memory_mb, pairs",
    {
        "a cost": ([], [1.03, 1.06, 1.04, 1.05, 1.05], 5),
        "many share the error": ([PASSING] * 20, [1.03, 1.06, 1.04, 1.05, 1.05, 1.04, 1.05], 7),
        "a score": ([PASSING, replace(PASSING, verdict="worse")], [], 0),
    },
)
def test_check_ends_when_something_is_worse(store_in_use, scores, memory_mb, pairs):
    cpu = replace(SERVED_CPU, tolerance=1000.0, min_change=1000.0)
    result = compare(Replayed(scores, memory_mb), [cpu, SERVED_MEMORY], "two models", {})
    assert (result.verdict, result.pairs) == ("worse", pairs)


@cases("together, verdict", [(3, "worse"), (40, "cannot be judged")])
def test_score_shares_the_error_with_the_costs_beside_it(together, verdict):
    """The more there are, the more a change has to stand out."""
    truth = np.zeros(250)
    noise = 0.25 * (-1.0) ** np.arange(250)
    contest = Models([], [], truth, np.arange(250), together)
    assert contest.judge(compared_score("mae"), truth + 1, truth + 1.05 + noise).verdict == verdict


def test_alias_that_somebody_has_moved_meanwhile_stays(registry):
    promotion = Promotion.of("champion", "models:/sum/1", "models:/sum/2")
    registry.set_registered_model_alias("sum", "champion", "3")
    with pytest.raises(CheckError, match="is version 3 now, it was 1 when the check began: it stays"):
        promotion.move()
    assert registry.get_model_version_by_alias("sum", "champion").version == 3


@cases("verdict, code, version", [("passes", 0, 2), ("worse", 1, 1), ("cannot be judged", 3, 1)])
def test_candidate_becomes_the_champion_only_if_it_passes(check, registry, monkeypatch, verdict, code, version):
    found = Result([Finding("rmse", verdict, "%", 0.0, 0.0, 0.0)], 3, "", {})
    monkeypatch.setattr("mlflow_sysmetrics.check.two_models.compare", lambda *arguments: found)
    check(f"{BOTH} --promote champion", code=code)
    assert registry.get_model_version_by_alias("sum", "champion").version == version


@cases("line, why", rows(__file__, "refused_models.txt"))
def test_mistake_is_a_sentence(check, line, why):
    assert why in check(line, code=2).splitlines()[-1]


def test_column_of_groups_is_only_for_a_model_that_names_it(tmp_path):
    """One without a signature would take each column that is there."""
    names_it = ModelSignature(Schema([ColSpec("double", "a"), ColSpec("long", "patient")]))
    for name, signature in (("baseline", names_it), ("candidate", None)):
        (tmp_path / name).mkdir()
        Model(signature=signature).save(str(tmp_path / name / "MLmodel"))
    table = pd.DataFrame({"a": [0.5], "patient": [7]})
    with both_models(str(tmp_path / "baseline"), str(tmp_path / "candidate"), table, "patient") as models:
        assert [list(model.table) for model in models] == [["a", "patient"], ["a"]]


@cases("broken, code", {"baseline": ("models:/sum/1", 3), "candidate": ("models:/sum/2", 1)})
def test_side_that_cannot_be_served_decides_the_exit_code(check, monkeypatch, broken, code):
    monkeypatch.setattr("mlflow_sysmetrics.check.models.serving", Mock(side_effect=ServerError(broken, "is broken")))
    assert f"{broken} is broken" in check(BOTH, code=code)
