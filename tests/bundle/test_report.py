"""The report entry point: which studies it reads, the run that it leaves, and what it says of mistakes."""

import shlex
from itertools import product

from cases import cases
from commands import invoke, runs_of_kind
from records import FULL, LIMITED, store_study, store_trial

from entrypoints.report import report
from entrypoints.runs.mlflow_io import load_rows, log_tables

NOTE = "mlflow.note.content"


def _study(client, dataset="red_wine", /, tags=FULL, **params):
    """A finished study of two trials."""
    about = {"sysmetrics.dataset": dataset, "sysmetrics.study_key": dataset}
    study = store_study(client, f"tune {dataset}", 0, tags=tags | about, **params)
    for alpha in (1, 2):
        store_trial(client, study, {"dataset": dataset, "alpha": alpha}, {"val_rmse": {100: 0.7 + alpha}})
    return study


def _searched(client):
    """A finished study of 24 trials whose scores and costs depend on what they chose, with the scores of ten folds."""
    study = store_study(client, trials=0, folds=10)
    folds = []
    for number, (size, rate, alpha) in enumerate(product((2, 16, 128), (0.1, 0.01), (0.001, 0.01, 0.1, 1.0))):
        score = 0.65 + rate + alpha / 100
        params = {"algorithm": "linear", "batch_size": size, "learning_rate": rate, "alpha": alpha}
        curves = {
            "val_rmse": {100: 1.2 * score, 500: score},
            "training_time_s": {500: 5 / size},
            "memory_mb": {100: 200.0, 500: 200.0},
        }
        store_trial(client, study, params, curves, trial_id=f"t{number}")
        folds += [{"trial_id": f"t{number}", "fold": fold, "val_rmse": score + fold % 3 / 100} for fold in range(10)]
    log_tables(client, study, {"folds.json": folds})
    return study


def _report(client, **options):
    """The run that a report leaves, and what it has printed."""
    result = invoke(report, **options)
    assert result.exit_code == 0, result.output
    return runs_of_kind(client, "report")[0], result.output


def test_report_leaves_a_page_its_tables_and_figures(store_in_use):
    """On a study of 24 trials as `tune` leaves it."""
    run, output = _report(store_in_use, study=_searched(store_in_use))
    assert run.info.status == "FINISHED"
    take = run.data.tags[NOTE].splitlines()[0]
    assert take.startswith("**Take algorithm=linear, batch_size=")
    for line in (take, "No model of it is logged; its run is "):
        assert line.replace("`", "").replace("**", "") in output
    files = {each.path for folder in (None, "figures") for each in store_in_use.list_artifacts(run.info.run_id, folder)}
    assert {"decision.json", "effects.json", "training.json", "pareto.json", "figures/pareto.png"} <= files
    assert load_rows(store_in_use, run.info.run_id, "decision.json")[0]["role"] == "best"


def test_report_reads_the_newest_study_of_its_dataset(store_in_use):
    """And of no other, into a run that is named after it."""
    _study(store_in_use)
    newest = _study(store_in_use)
    _study(store_in_use, "diabetes")
    run, _ = _report(store_in_use, dataset="red_wine")
    assert run.info.run_name == "report red_wine"
    assert run.data.params == {"dataset": "red_wine", "target": "auto", "study": "auto"}
    assert f"/runs/{newest}/" in run.data.tags[NOTE]


def test_report_reads_the_studies_that_are_named(store_in_use):
    """Whatever their dataset is, each once; its run is called by what it compares, and holds no dataset."""
    ids = [_study(store_in_use, dataset) for dataset in ("diabetes", "/data/mine.csv")]
    run, _ = _report(store_in_use, study=", ".join([*ids, ids[0]]))
    assert [run.data.tags[NOTE].count(f"/runs/{each}/overview") for each in ids] == [1, 1]
    assert run.info.run_name == "report diabetes, mine.csv"
    assert run.data.params == {"study": ",".join(ids)}


def test_name_that_the_user_chose_for_a_report_stays(store_in_use, monkeypatch):
    """As `mlflow run --run-name` gives it."""
    given = store_in_use.create_run("0", run_name="wine-test-2-final").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    ids = [_study(store_in_use, dataset) for dataset in ("diabetes", "red_wine")]
    run, _ = _report(store_in_use, study=",".join(ids))
    assert run.info.run_name == "wine-test-2-final"


def test_mistake_ends_the_report_s_run_with_its_sentence(store_in_use):
    """The run is FAILED and repeats what the terminal says."""
    result = invoke(report, dataset="diabetes")
    (run,) = runs_of_kind(store_in_use, "report")
    sentence = run.data.tags["sysmetrics.error"]
    assert sentence.startswith("dataset=diabetes: the experiment Default has no finished study of it; run mlflow run")
    assert (result.exit_code, result.output) == (1, f"Error: {sentence}\n")
    assert run.info.status == "FAILED"


@cases("written", {"as typed": str, "as mlflow run keeps them": shlex.quote})
def test_page_has_the_command_for_the_same_trials_under_limits(store_in_use, written):
    """To be pasted, with what differs from the defaults."""
    params = {"dataset": "my wine.csv", "space": '{"alpha": [1, 2]}', "seed": "0", "cpus": "all", "folds": "5"}
    kept = {name: written(value) for name, value in params.items()}
    run, _ = _report(store_in_use, study=_study(store_in_use, **kept))
    command = "mlflow run . -e early_stop --env-manager local -P 'dataset=my wine.csv' -P folds=5 "
    command += """-P 'space={"alpha": [1, 2]}'"""
    assert f"    {command}\n" in run.data.tags[NOTE]


def test_search_under_limits_that_tried_other_values_is_compared_as_a_whole(store_in_use):
    """Of the first study alone are the other answers; what was run is no advice any more."""
    full = _study(store_in_use, space="{}")
    limited = _study(store_in_use, tags=LIMITED, space="{}")
    store_trial(store_in_use, limited, {"dataset": "red_wine", "alpha": 3}, {"val_rmse": {100: 0.1}})
    run, output = _report(store_in_use, dataset="red_wine")
    assert f"/runs/{full}/" in run.data.tags[NOTE]
    assert f"/runs/{limited}/" in run.data.tags[NOTE]
    assert "the best of 2 trials" in output
    assert "shares 2 of its 3 configurations" in output
    assert "mlflow run" not in run.data.tags[NOTE]


@cases("study", {"under limits": {"tags": LIMITED, "space": "{}"}, "of another script": {"alpha": "1"}})
def test_page_of_a_study_that_cannot_be_typed_again_has_no_command(store_in_use, study):
    """Nor of one that has limits already."""
    run, _ = _report(store_in_use, study=_study(store_in_use, **study))
    assert "mlflow run" not in run.data.tags[NOTE]
