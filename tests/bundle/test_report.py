"""The report entry point: which studies it reads, the run that it leaves, and what it says of mistakes."""

import shlex
from itertools import product

from commands import invoke, runs_of_kind
from records import FULL, LIMITED, store_study, store_trial

from entrypoints.mlflow_io import load_rows, log_tables
from entrypoints.report import report


def _study(client, dataset="red_wine", /, **params):
    """A finished study of two trials."""
    tags = FULL | {"sysmetrics.dataset": dataset, "sysmetrics.study_key": dataset}
    study = store_study(client, f"tune {dataset}", 0, tags=tags, **params)
    for alpha in (1, 2):
        store_trial(client, study, {"dataset": dataset, "alpha": alpha}, {"val_rmse": {100: 0.7 + alpha}})
    return study


def _searched(client):
    """A finished study of 24 trials whose scores and costs depend on what they chose, with the scores of ten folds."""
    study = store_study(client, trials=0, folds=10)
    folds = []
    for number, (batch_size, rate, alpha) in enumerate(product((2, 16, 128), (0.1, 0.01), (0.001, 0.01, 0.1, 1.0))):
        score = 0.65 + rate + alpha / 100
        params = {"algorithm": "linear", "batch_size": batch_size, "learning_rate": rate, "alpha": alpha}
        points = {"val_rmse": {100: 1.2 * score, 500: score}, "training_time_s": {500: 5 / batch_size}}
        store_trial(client, study, params, points | {"memory_mb": {100: 200.0, 500: 200.0}}, trial_id=f"t{number}")
        folds += [{"trial_id": f"t{number}", "fold": fold, "val_rmse": score + fold % 3 / 100} for fold in range(10)]
    log_tables(client, study, {"folds.json": folds})
    return study


def _run(client):
    """The one run of a report."""
    (run,) = runs_of_kind(client, "report")
    return run


def _page(client):
    return str(_run(client).data.tags["mlflow.note.content"])


def test_report_leaves_a_page_its_tables_and_figures(store_in_use):
    """On a study of 24 trials as `tune` leaves it."""
    result = invoke(report, study=_searched(store_in_use))
    assert result.exit_code == 0, result.output
    run, page = _run(store_in_use), _page(store_in_use)
    first = page.splitlines()[0]
    assert first.startswith("**Take algorithm=linear, batch_size=")
    for line in (first, "No model of it is logged; its run is "):
        assert line.replace("`", "").replace("**", "") in result.output
    files = {each.path for folder in (None, "figures") for each in store_in_use.list_artifacts(run.info.run_id, folder)}
    assert {"decision.json", "effects.json", "training.json", "pareto.json", "figures/pareto.png"} <= files
    assert load_rows(store_in_use, run.info.run_id, "decision.json")[0]["role"] == "best"
    assert run.info.status == "FINISHED"


def test_report_reads_the_newest_study_of_its_dataset(store_in_use):
    """And of no other, into a run that is named after it."""
    _study(store_in_use)
    newest = _study(store_in_use)
    _study(store_in_use, "diabetes")
    assert invoke(report, dataset="red_wine").exit_code == 0
    run = _run(store_in_use)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "report red_wine")
    assert run.data.params == {"dataset": "red_wine", "study": "auto"}
    assert f"/runs/{newest}/" in _page(store_in_use)


def test_report_reads_the_studies_that_are_named(store_in_use, monkeypatch):
    """Whatever their dataset is, each once; its run is called by what it compares, and holds no dataset.

    A name that the user chose, as `mlflow run --run-name` gives it, stays.
    """
    ids = [_study(store_in_use, dataset) for dataset in ("diabetes", "/data/mine.csv")]
    assert invoke(report, study=", ".join([*ids, ids[0]])).exit_code == 0
    run, page = _run(store_in_use), _page(store_in_use)
    monkeypatch.setenv("MLFLOW_RUN_ID", store_in_use.create_run("0", run_name="wine-test-2-final").info.run_id)
    assert invoke(report, study=", ".join(ids)).exit_code == 0
    names = {each.info.run_name for each in runs_of_kind(store_in_use, "report")}
    assert names == {run.info.run_name, "wine-test-2-final"}
    assert [page.count(f"/runs/{each}/overview") for each in ids] == [1] * len(ids)
    assert run.info.run_name == "report diabetes, mine.csv"
    assert run.data.params == {"study": ",".join(ids)}


def _told(client, study, **options):
    result = invoke(report, study=study, **options)
    assert result.exit_code == 0, result.output
    return str(runs_of_kind(client, "report")[0].data.tags["mlflow.note.content"])


def test_mistake_ends_the_report_s_run_with_its_sentence(store_in_use):
    """The run is FAILED and repeats what the terminal says."""
    result = invoke(report, dataset="diabetes")
    run = _run(store_in_use)
    sentence = run.data.tags["sysmetrics.error"]
    assert sentence.startswith("dataset=diabetes: the experiment Default has no finished study of it; run mlflow run")
    assert (result.exit_code, result.output) == (1, f"Error: {sentence}\n")
    assert run.info.status == "FAILED"


def test_page_has_the_command_for_the_same_trials_under_limits(store_in_use):
    """To be pasted, with what differs from the defaults; not of a study under limits, or of another script."""
    params = {"dataset": "my wine.csv", "space": '{"alpha": [1, 2]}', "seed": "0", "cpus": "all", "folds": "5"}
    command = "mlflow run . -e early_stop --env-manager local -P 'dataset=my wine.csv' -P folds=5 "
    command += """-P 'space={"alpha": [1, 2]}'"""
    assert f"    {command}\n" in _told(store_in_use, _study(store_in_use, **params))
    quoted = {name: shlex.quote(value) for name, value in params.items()}  # as `mlflow run` keeps them
    assert f"    {command}\n" in _told(store_in_use, _study(store_in_use, **quoted))
    limited = store_study(store_in_use, tags=LIMITED, **params)
    for other in (limited, _study(store_in_use, alpha="1")):
        assert "mlflow run" not in _told(store_in_use, other)
