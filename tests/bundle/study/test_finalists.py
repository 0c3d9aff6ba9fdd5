"""Which of the models that a study would choose becomes its result, by what they cost as served."""

from pathlib import Path
from unittest.mock import Mock

import mlflow
import pytest
from cases import cases, tables
from commands import in_use, invoke
from records import RunningRay, store, study_of, trial

from entrypoints.errors import UserError
from entrypoints.models.best_model import LoggedModel
from entrypoints.runs.recorded import RecordedRun
from entrypoints.runs.tags import FEASIBLE
from entrypoints.study import finalists, result, running
from entrypoints.tune import tune
from mlflow_gate.served import ServedCosts, ServerError
from mlflow_gate.served.contention import Contention

TABLES = tables(__file__, "study.yaml")
MACHINES = {"quiet": Contention(0.02, 0.01), "busy": Contention(1.2, 0.6)}


class Server:
    """Serves no model, and knows what each costs in turn: a figure for one name, on a quiet or a busy machine.

    One may fail, or be too slow to have a figure.
    """

    def __init__(self, name, *values, machine="quiet"):
        self.left = list(values)
        self._name = name
        self._contention = MACHINES[machine]

    def __call__(self, folder, max_seconds, rate):
        assert (Path(folder) / "MLmodel").exists()
        value = self.left.pop(0)
        if value == "fails":
            raise ServerError(folder, "cannot be served here")
        if value == "too slow":
            return ServedCosts({"served_cpu_ms": 9.0}, 100, self._contention, cannot_keep_up="it answers only 30 of 50")
        return ServedCosts({"served_cpu_ms": 4.0, self._name: value}, 100, self._contention)


@pytest.fixture
def choose(empty_store, monkeypatch):
    """The end of a study of trials with these scores under limits, in a store that is in use."""
    with in_use(empty_store) as client:

        def chosen(limits, server, *by_score):
            study = study_of([trial(number, score) for number, score in enumerate(by_score, 1)], limits)
            study.run = RecordedRun.of(client, client.create_run("0"))
            for each in study.trials.values():
                store(client, study.run.run_id, each)
            monkeypatch.setattr(finalists, "served_costs", server)
            result.decide(study)
            return study

        yield chosen


def _logged(study):
    """What the runs of its trials hold."""
    return [study.run.client.get_run(each.run_id).data for each in study.trials.values()]


@cases("limit, costs, machine, best, feasible", TABLES["finalists"])
def test_first_in_the_order_of_the_choice_that_meets_the_limits_is_the_result(
    choose, limit, costs, machine, best, feasible
):
    """Those after it are not served; nor is another in vain: what is slow on a busy machine may be fast elsewhere."""
    server = Server(limit.partition("<")[0], *costs, machine=machine)
    study = choose(limit, server, *(0.5 + number / 10 for number in range(len(feasible))))
    assert (study.best and study.best.trial_id) == best
    assert [run.tags[FEASIBLE] for run in _logged(study)] == feasible
    assert server.left == []


def test_five_that_break_a_limit_end_the_study(choose):
    """It names the nearest of them, and does not say that no other one could meet it."""
    figures = [250.0, 240.0, 210.0, 230.0, 220.0]
    study = choose("served_memory_mb<=200", Server("served_memory_mb", *figures), *(0.5 + n / 100 for n in range(7)))
    assert study.best is None
    assert [run.metrics.get("served_memory_mb") for run in _logged(study)] == [*figures, None, None]
    with mlflow.start_run(run_id=study.run.run_id):
        why = result.tell_no_result(study, {})
    assert why.startswith("no model that was served (5, the first of the choice) meets")
    assert "batch_size=8, has served_memory_mb 210 > 200" in why


def test_result_that_could_not_be_judged_is_told_how_to(choose):
    """With the command for a quiet machine."""
    study = choose("served_p50_ms<=20", Server("served_p50_ms", 30.0, machine="busy"), 0.5, 0.6)
    model = LoggedModel("m-0123", {"test_rmse": 0.6, "refit_training_time_s": 1.0, "refit_latency_ms": 2.0})
    with mlflow.start_run(run_id=study.run.run_id):
        said = result.tell(study, model, {})
    assert 'quiet machine with mlflow-sysmetrics served models:/m-0123 --limits "served_p50_ms<=20": served_p50' in said


def test_model_is_in_mlflow_before_it_is_served(choose):
    """Whoever ends the study meanwhile is told which one it is."""
    found = []

    class Looking(Server):
        def __call__(self, *arguments, **options):
            found.extend(mlflow.search_logged_models(output_format="list"))
            return super().__call__(*arguments, **options)

    study = choose("", Looking("served_memory_mb", 190.0), 0.5)
    assert [f"models:/{model.model_id}" for model in found] == [study.logged.uri]
    assert study.best_so_far().endswith(f"its model is {study.logged.uri}")
    assert study.logged.figures["served_memory_mb"] == 190.0


def test_model_that_cannot_be_served_is_a_warning_without_limits_on_it(choose, capsys):
    assert choose("", Server("served_memory_mb", "fails"), 0.5, 0.6).best.trial_id == "t1"
    warning = "Warning: what it costs as served is not known: the model cannot be served here\n"
    assert warning in capsys.readouterr().out


@cases("limit, figure, machine, is_refused", TABLES["costs of a model that ignores all features"])
def test_limit_that_no_model_can_meet_ends_a_study_before_its_search(
    store_in_use, monkeypatch, limit, figure, machine, is_refused
):
    """By a model that ignores all features. Other programs may have made its answers slow."""
    monkeypatch.setattr("entrypoints.study.plan.backend", Mock(return_value=RunningRay()))
    monkeypatch.setattr(finalists, "served_costs", Server(limit.partition("<")[0], figure, machine=machine))
    monkeypatch.setattr(running, "run_trials", Mock(side_effect=UserError("searched")))
    said = invoke(tune, dataset="diabetes", limits=limit).stderr
    refused = f"Error: limits={limit}: no model can meet {limit}, since a model that ignores all features has"
    assert said.startswith(refused if is_refused else "Error: searched")
