"""`mlflow-sysmetrics check` of two models: real servers, the verdict, and the alias that moves or stays."""

import json
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from cases import cases, rows, tables
from click.testing import CliRunner
from commands import copy_store, in_use

from mlflow_gate.check.budget import Budget
from mlflow_gate.check.contest import CheckError, compare
from mlflow_gate.check.models import AskedModel, Models
from mlflow_gate.check.scores import HeldOut
from mlflow_gate.check.verdict import ANSWERED, PASSES, SERVED_MEMORY, SERVED_TIME, Finding
from mlflow_gate.served import ServedCosts, ServerError
from mlflow_gate.served.contention import Contention
from mlflow_sysmetrics.command.cli import main


@pytest.fixture
def registry(logged, tmp_path):
    """The registered model `sum`: version 1 is the champion, 2 a copy of it, 3 is worse and larger."""
    copy_store(logged.folder, tmp_path / "store")
    with in_use(tmp_path / "store") as client:
        for name in ("copy", "worse"):
            client.create_model_version("sum", logged.uris[name], model_id=logged.uris[name].removeprefix("models:/"))
        yield client


@pytest.fixture
def check_models(registry, tmp_path):
    """Run a check to its end, on rows whose target is the sum of their columns and some noise."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.random((250, 2)), columns=["a", "b"])
    table["y"] = table.a + table.b + random.normal(scale=0.1, size=250)
    table["patient"] = table.index // 5
    table["doctor"] = table.patient.where(table.index != 7)
    table["rare"] = table.index < 3
    table["grade"] = np.where(table.y > 1, "A", "B")
    table["sick"] = np.where(table.y > 1, "yes", "no")
    file = tmp_path / "rows.csv"
    table.to_csv(file, index=False)

    def check(line, code):
        result = CliRunner().invoke(main, shlex.split(f"check {line} --data {file}"))
        assert result.exit_code == code, result.output
        assert not isinstance(result.exception, Exception)
        return result.stdout or result.stderr

    return check


CASES = tables(__file__, "cases.yaml")
BOTH = "models:/sum@champion models:/sum/2 --target y --lower rmse"


@pytest.mark.slow
@cases("at_rate", {"in turn": "", "at a rate": "--rate 20"})
def test_model_that_is_worse_and_larger_leaves_the_champion_where_it_is(check_models, registry, at_rate):
    """The run of the check has all of it, and below it is a run for each server."""
    options = "--target y --lower rmse --lower rmse --group patient --promote champion --format json"
    any_cpu_and_rmse = "--tolerate served_cpu_ms=1000%,rmse=1000%"  # beside other tests
    said = json.loads(check_models(f"models:/sum/1 models:/sum/3 {options} {any_cpu_and_rmse} {at_rate}", code=1))
    verdicts = {each["name"]: each["verdict"] for each in said["metrics"]}
    assert verdicts.pop("served_memory_mb") == "worse"
    assert set(verdicts.values()) == {"passes"}
    assert ("served_answered_per_s" in verdicts) == bool(at_rate)
    assert registry.get_model_version_by_alias("sum", "champion").version == 1
    below = registry.search_runs(["0"], "tags.`sysmetrics.side` = 'candidate'")
    memory = said["runs"]["candidate"]["served_memory_mb"]
    assert sorted(each.data.metrics["served_memory_mb"] for each in below) == sorted(memory)


@pytest.mark.slow
@cases(
    "baseline, candidate, options",
    {
        "named by class": ("chance", "other chance", "--target sick --positive yes"),
        "in the order of the model's own labels": ("grades", "unsure grades", "--target grade --positive A=2"),
    },
)
def test_probabilities_are_asked_for_and_a_worse_score_is_the_end(
    check_models, logged, registry, baseline, candidate, options
):
    """No pair runs after it."""
    both = f"{logged.uris[baseline]} {logged.uris[candidate]} {options}"
    said = json.loads(check_models(f"{both} --higher roc_auc --lower log_loss --format json", code=1))
    verdicts = {each["name"]: each["verdict"] for each in said["metrics"]}
    assert verdicts == {"log_loss": "worse", "roc_auc": "passes"}  # which knows only the order
    (run,) = registry.search_runs(["0"], "tags.`sysmetrics.kind` = 'check'")
    assert (run.info.status, run.data.metrics["pairs"]) == ("FAILED", 0)


@pytest.mark.slow
def test_probabilities_of_unknown_classes_are_refused(check_models, logged):
    both = f"{logged.uris['chance']} {logged.uris['nameless']} --target sick --positive yes"
    assert "candidate answers with two columns, and nothing says" in check_models(f"{both} --lower brier", code=1)


@dataclass
class Replayed:
    """A contest whose findings and costs of pairs are known, and what happens meanwhile."""

    score: str
    together: int = 1
    memory_mb: list = field(default_factory=lambda: [1.0] * 10)
    meanwhile: Callable = lambda: None
    how: str = ""

    @property
    def metrics(self):
        return [replace(SERVED_MEMORY, together=self.together)]

    def warm_up(self, parent):
        self.meanwhile()
        return [Finding("rmse", self.score)]

    def run(self, parent, pair):
        return {"served_memory_mb": 1.0}, {"served_memory_mb": self.memory_mb[pair - 1]}


@cases(
    "score, together, pairs",
    {"a cost": (PASSES, 1, 5), "many share the error": (PASSES, 21, 7), "a score": ("worse", 1, 0)},
)
def test_check_ends_when_something_is_worse(store_in_use, score, together, pairs):
    contest = Replayed(score, together, [1.03, 1.06, 1.04, 1.05, 1.05, 1.04, 1.05])
    result = compare(contest, "two models", {}, Budget())
    assert (result.verdict, result.pairs) == ("worse", pairs)


@cases("budget, pairs", [(Budget(), 20), (Budget(max_pairs=6), 6), (Budget(max_minutes=0), 3)])
def test_undecided_check_ends_with_its_budget(store_in_use, capsys, budget, pairs):
    """After three pairs it says what the others will find."""
    result = compare(Replayed(PASSES, 1, [1.0, 1.04] * 10), "two models", {}, budget)
    assert (result.verdict, result.pairs) == ("cannot be judged", pairs)
    said = "more seconds at most; a change of" in capsys.readouterr().err
    assert said == (pairs > 3)


LATE = Contention(0.02, 0.01, is_late=True)
QUICK = ServedCosts({"served_p50_ms": 5.0}, 400, Contention(0.02, 0.01), answered_per_s=50.0)
OVERRUN = replace(QUICK, figures={}, cannot_keep_up="it answers only 20", answered_per_s=20.0)
COSTS = {
    "quick": QUICK,
    "overrun": OVERRUN,
    "late": replace(QUICK, contention=LATE),
    "overrun and late": replace(OVERRUN, contention=LATE),
}


@pytest.fixture
def at_rate(store_in_use, monkeypatch):
    """Compare two models at a rate, at which their costs are known."""

    def compared(*costs):
        monkeypatch.setattr("mlflow_gate.check.models.serving", lambda *_: nullcontext(costs))
        monkeypatch.setattr("mlflow_gate.check.asked_in_turn.costs_of", lambda server, *_: server)
        sides = [AskedModel(side, Mock(), np.zeros((1, 1))) for side in ("baseline", "candidate")]
        held_out = HeldOut(np.zeros(1), np.zeros(1))
        return compare(Models(sides, [], [ANSWERED, SERVED_TIME], held_out, rate=50.0), "two models", {}, Budget())

    return compared


@cases("baseline, candidate, answered, time", CASES["keeping up"])
def test_model_that_cannot_keep_up_is_worse_than_one_that_can(at_rate, baseline, candidate, answered, time):
    findings = at_rate(COSTS[baseline], COSTS[candidate]).metrics
    assert [finding.verdict for finding in findings] == [answered, time]


def test_rate_that_neither_keeps_up_with_is_not_judged(at_rate):
    with pytest.raises(CheckError, match="the baseline answers only 20 of 50 requests a second"):
        at_rate(OVERRUN, OVERRUN)


@cases("verdict, moved_to, code, version", CASES["promotion"])
def test_candidate_becomes_the_champion_only_if_it_passes(
    check_models, registry, monkeypatch, verdict, moved_to, code, version
):
    contest = Replayed(verdict, meanwhile=lambda: registry.set_registered_model_alias("sum", "champion", moved_to))
    monkeypatch.setattr("mlflow_gate.check.two_models.Models", lambda *_: contest)
    check_models(f"{BOTH} --promote champion", code)
    assert registry.get_model_version_by_alias("sum", "champion").version == version
    (run,) = registry.search_runs(["0"], "tags.`sysmetrics.kind` = 'check'")
    assert run.info.status == ("FAILED" if code else "FINISHED")


@cases("line, why", rows(__file__, "refused_models.txt"))
def test_mistake_is_a_sentence(check_models, line, why):
    assert why in check_models(line, code=2).splitlines()[-1]


@cases("broken, code", {"baseline": ("models:/sum/1", 3), "candidate": ("models:/sum/2", 1)})
def test_side_that_cannot_be_served_decides_the_exit_code(check_models, monkeypatch, broken, code):
    monkeypatch.setattr("mlflow_gate.check.models.serving", Mock(side_effect=ServerError(broken, "is broken")))
    assert f"{broken} is broken" in check_models(BOTH, code=code)
