"""Which of the models that a study would choose becomes its result, by what they cost as served."""

from pathlib import Path
from unittest.mock import Mock

import mlflow
import pytest
from cases import cases
from click.testing import CliRunner
from commands import in_use
from records import RunningRay, store, study_of, trial

from entrypoints.errors import UserError
from entrypoints.models.best_model import LoggedModel
from entrypoints.runs import RecordedRun
from entrypoints.search import finalists, result, running
from entrypoints.search.finalists import MAX_FINALISTS
from entrypoints.tune import tune
from mlflow_sysmetrics.served import ServedCosts, ServerError
from mlflow_sysmetrics.served.contention import Contention

QUIET, BUSY = Contention(0.02, 0.01), Contention(1.2, 0.6)


class Server:
    """Serves no model, and knows what each costs in turn: a figure for one name, taken on a quiet machine or not."""

    def __init__(self, name, *values, contention=QUIET, fails=0, too_slow=0):
        self.left = list(values)
        self.fails = fails
        self.too_slow = too_slow
        self.served = 0
        self._name = name
        self._contention = contention

    def __call__(self, folder, max_seconds, rate):
        assert (Path(folder) / "MLmodel").exists()
        self.served += 1
        if self.served <= self.fails:
            raise ServerError(folder, "cannot be served here")
        if self.served <= self.too_slow:
            costs = {"served_cpu_ms": 9.0}
            return ServedCosts(
                costs, 100, self._contention, cannot_keep_up="it answers only 30 of 50 requests a second"
            )
        return ServedCosts({"served_cpu_ms": 4.0, self._name: self.left.pop(0)}, 100, self._contention)


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


def _feasible(study):
    """What the runs of trials say, the best first."""
    runs = [study.run.client.get_run(str(each.run_id)) for each in study.trials.values()]
    return [run.data.tags["sysmetrics.feasible"] for run in runs]


def _said(study):
    model = LoggedModel("m-0123", {"test_rmse": 0.6, "refit_training_time_s": 1.0, "refit_latency_ms": 2.0})
    with mlflow.start_run(run_id=study.run.run_id):
        return result.tell(study, model, {})


def test_first_in_the_order_of_the_choice_that_meets_the_limits_is_the_result(choose):
    """Those before it break a limit; those after it are not served."""
    server = Server("served_memory_mb", 210.0, 190.0)
    study = choose("served_memory_mb<=200", server, 0.5, 0.6, 0.7)
    assert (study.best.trial_id, server.served) == ("t2", 2)
    assert _feasible(study) == ["false", "true", "unknown"]
    figures = [study.run.client.get_run(each.run_id).data.metrics for each in study.trials.values()]
    assert [each.get("served_memory_mb") for each in figures] == [210, 190, None]


def test_five_that_break_a_limit_end_the_study(choose):
    """It names the nearest of them, and does not say that no other one could meet it."""
    server = Server("served_memory_mb", 250.0, 240.0, 210.0, 230.0, 220.0)
    study = choose("served_memory_mb<=200", server, *(0.5 + number / 100 for number in range(7)))
    assert study.best is None
    assert server.served == MAX_FINALISTS
    with mlflow.start_run(run_id=study.run.run_id):
        why = result.tell_no_result(study, {})
    assert why.startswith("no model that was served (5, the first of the choice) meets `served_memory_mb<=200`; the")
    assert "batch_size=8, has served_memory_mb 210 > 200" in why


def test_limit_by_the_clock_is_never_met_on_a_busy_machine_unless_it_is_met_there(choose):
    """One that is slow there may be fast elsewhere: it is the result, and no other is served in vain."""
    server = Server("served_p50_ms", 10.0, contention=BUSY)
    study = choose("served_p50_ms<=20", server, 0.5, 0.6)
    assert (study.best.trial_id, [*study.not_judged]) == ("t1", [])
    assert _feasible(study) == ["true", "unknown"]

    server = Server("served_p50_ms", 30.0, 10.0, contention=BUSY)
    study = choose("served_p50_ms<=20", server, 0.5, 0.6)
    assert (study.best.trial_id, server.served) == ("t1", 1)
    assert _feasible(study) == ["unknown", "unknown"]
    said = _said(study)
    assert "though whether it meets served_p50_ms<=20 is not known" in said
    assert 'quiet machine with mlflow-sysmetrics served models:/m-0123 --limits "served_p50_ms<=20": served_p50' in said


def test_model_that_cannot_keep_up_breaks_a_limit_on_its_latency(choose):
    """The next one is the result; where none keeps up, there is none."""
    study = choose("served_p95_ms<=20", Server("served_p95_ms", 10.0, too_slow=1), 0.5, 0.6)
    assert study.best.trial_id == "t2"
    assert _feasible(study) == ["false", "true"]
    study = choose("served_p95_ms<=20", Server("served_p95_ms", too_slow=2), 0.5, 0.6)
    assert study.best is None
    with mlflow.start_run(run_id=study.run.run_id):
        assert "meets `served_p95_ms<=20`" in result.tell_no_result(study, {})


def test_model_that_cannot_be_served_is_a_warning(choose, capsys):
    """Without limits on it; with some, the next one is tried, and nobody says that it meets them."""
    server = Server("served_memory_mb", fails=1)
    study = choose("", server, 0.5, 0.6)
    assert (study.best.trial_id, server.served) == ("t1", 1)
    warning = "Warning: what it costs as served is not known: the model cannot be served here\n"
    assert warning in capsys.readouterr().out
    study = choose("served_memory_mb<=200", Server("served_memory_mb", 190.0, fails=1), 0.5, 0.6)
    assert study.best.trial_id == "t2"


def _early_stop(server, search, **options):
    """What the command says whose search and whose server are these."""
    line = [part for name, value in options.items() for part in (f"--{name}", value)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("entrypoints.search.plan.backend", Mock(return_value=RunningRay()))
        patch.setattr(finalists, "served_costs", server)
        patch.setattr(running, "run_trials", search)
        return CliRunner().invoke(tune, line)


def test_limit_that_no_model_can_meet_ends_a_study_before_its_search(store_in_use):
    """By a model that ignores all features; what is nearer to the limit than noise does not."""
    server, search = Server("served_memory_mb", 100.5, 101.5), Mock(side_effect=UserError("searched"))
    first, second = (_early_stop(server, search, dataset="diabetes", limits="served_memory_mb<=100") for _ in range(2))
    assert first.stderr == "Error: searched\n"
    assert second.stderr == (
        "Error: limits=served_memory_mb<=100: no model can meet served_memory_mb<=100, since a model that ignores all "
        "features has served_memory_mb 101.5 > 100; loosen this limit\n"
    )
    assert search.call_count == 1


@cases(
    "contention, answer_ms, says",
    {
        "quiet": (QUIET, 30.0, "has served_p50_ms 30 > 20; loosen this limit"),
        "within noise": (QUIET, 23.0, "Error: searched"),
        "busy": (BUSY, 30.0, "Error: searched"),
    },
)
def test_limit_by_the_clock_ends_a_study_before_its_search_on_a_quiet_machine_alone(
    store_in_use, contention, answer_ms, says
):
    """Where other programs may have made the answers slow, it is searched; so it is within a fifth of the limit."""
    server = Server("served_p50_ms", answer_ms, contention=contention)
    search = Mock(side_effect=UserError("searched"))
    done = _early_stop(server, search, dataset="diabetes", limits="served_p50_ms<=20")
    assert says in done.stderr
