"""Which studies of a real store a report is about, and the mistakes of a user who names others."""

import pytest
from cases import cases
from commands import store_uri
from frames import study, together
from mlflow import MlflowClient
from records import FULL, LIMITED, OF_ALL, experiment_id, read, store_study, store_trial

from entrypoints.errors import UserError
from entrypoints.reporting.questions import DATASETS, STUDY
from entrypoints.reporting.selection import by_ids, find, kind_of

NO_KEY = {**OF_ALL, "sysmetrics.dataset": "red_wine"}
OTHER = {**OF_ALL, "sysmetrics.dataset": "diabetes", "sysmetrics.study_key": "d"}
UNFINISHED = ", and a study has to be finished; "
APART = "they are of different datasets (red_wine, diabetes); give those of one, or one full study, by tune, of each"
OPENML, LIMIT = {"sysmetrics.dataset": "openml:44972"}, {"sysmetrics.limits": "elapsed_s<=9"}


@pytest.fixture
def studies_client(module_store):
    """Of a store of this module's own; its experiment `studies` is empty."""
    store = MlflowClient(store_uri(module_store))
    experiment = store.create_experiment("studies")
    yield store
    store.rename_experiment(experiment, f"studies {experiment}")


def _found(client, dataset="red_wine"):
    return [run.info.run_id for run in find(client, experiment_id(client), dataset)]


def _under(**tags):
    """A study under limits, but for these tags."""
    return {"tags": LIMITED | {f"sysmetrics.{name}": tag for name, tag in tags.items()}}


@cases(
    "studies, found",
    {
        "limits": ([{}, _under(), _under(limits="elapsed_s<=8"), _under(), {}], [4, 3, 2]),
        "5": ([{}, *(_under(limits=f"elapsed_s<={limit}") for limit in range(6))], [0, 6, 5, 4, 3, 2]),
        "no full one to compare with": ([_under(), _under(limits="elapsed_s<=8")], [1]),
        "another key": ([{}, _under(study_key="other")], [0]),
        "running": ([{}, _under() | {"status": "RUNNING"}], [0]),
        "another dataset": ([{}, {"tags": OTHER}], [0]),
        "no study": ([{}, {"kind": "prepare"}], [0]),
        "no key": ([{"tags": NO_KEY}, {"tags": NO_KEY | LIMIT}], [0]),
    },
)
def test_newest_full_study_is_found_with_those_of_the_same_trials_under_limits(studies_client, studies, found):
    """Of each way to limit them the newest, the newest first, after the full one; five at most.

    Without a key nobody knows whether they trained the same.
    """
    ids = [store_study(studies_client, **each) for each in studies]
    assert _found(studies_client) == [ids[number] for number in found]


def test_study_under_limits_that_tried_anything_else_is_not_found(studies_client):
    """One that tried a part of the same is, however its values were written."""
    full, part, other = (store_study(studies_client, trials=0, tags=tags) for tags in (FULL, LIMITED, LIMITED))
    tried = {full: (8, 64), part: (8.0,), other: (8, 32)}
    for each, sizes in tried.items():
        for size in sizes:
            store_trial(studies_client, each, {"batch_size": size, "alpha": 0.1})
    assert _found(studies_client) == [full, part]


def test_dataset_without_a_study_is_answered_with_those_that_have_one(studies_client):
    """A study that failed does not count. What to run where there is none is in test_report."""
    store_study(studies_client, status="FAILED")
    for dataset in ("mine", "diabetes"):
        store_study(studies_client, tags={**OF_ALL, "sysmetrics.dataset": dataset})
    with pytest.raises(UserError) as error:
        find(studies_client, experiment_id(studies_client), "red_wine")
    says = "dataset=red_wine: the experiment studies has no finished study of it, only of diabetes, mine; use one of"
    assert error.value.message.startswith(says)


def test_studies_that_are_named_come_once_the_full_one_first(studies_client):
    """In whatever order they are given. Those of several datasets keep theirs."""
    limited, full = store_study(studies_client, tags=LIMITED), store_study(studies_client)
    assert [run.info.run_id for run in by_ids(studies_client, [limited, full, limited])] == [full, limited]
    other = store_study(studies_client, tags=OTHER)
    assert [run.info.run_id for run in by_ids(studies_client, [other, full])] == [other, full]


def _mistake(client, *run_ids):
    """What is said of these runs, by whose ids they are named."""
    with pytest.raises(UserError) as error:
        kind_of(read(client, by_ids(client, run_ids)))
    given, says = error.value.message.split(": ", 1)
    assert given == f"study={','.join(run_ids)}"
    return says


@cases(
    "values, says",
    {
        "running": (
            {"status": "RUNNING"},
            f"tune red_wine is RUNNING{UNFINISHED}wait for its end",
        ),
        "failed": ({"status": "FAILED"}, f"tune red_wine is FAILED{UNFINISHED}run it again"),
        "no trials": ({"trials": 0}, "tune red_wine has no trials; give the run id of a tune or early_stop"),
    },
)
def test_run_that_is_no_finished_study_is_a_mistake(studies_client, values, says):
    assert _mistake(studies_client, store_study(studies_client, **values)) == says


def test_trial_is_answered_with_its_study_and_a_deleted_run_with_where_to_look(studies_client):
    """The id that was meant."""
    study = store_study(studies_client, trials=0)
    says = _mistake(studies_client, store_trial(studies_client, study))
    assert says == f"this run is of the kind trial and not a study; give the one that it is part of, {study}"
    studies_client.delete_run(study)
    assert _mistake(studies_client, study).startswith("MLflow has no run with this id; give ")


@cases(
    "others, says",
    {
        "under limits": ([OTHER | LIMIT], APART),
        "one of two twice": (
            [FULL, OTHER],
            APART,
        ),
        "one dataset twice": ([FULL | OPENML], "two of red_wine, openml:44972 are the same data; give one study of"),
        "keys": ([LIMITED | {"sysmetrics.study_key": "other"}], "they cannot be compared, since their data or"),
        "full": ([FULL], "several full studies of one dataset are compared on the page All studies; give one"),
    },
)
def test_studies_that_do_not_go_together_are_a_mistake(studies_client, others, says):
    """Their trials answer different questions."""
    ids = [store_study(studies_client, tags=tags) for tags in (FULL, *others)]
    assert _mistake(studies_client, *ids).startswith(says)


def _made(**of_study):
    return study({"alpha": [1, 2]}, of_study={"key": "k"} | of_study, name=str(of_study))


@cases(
    "studies, kind",
    {
        "one and its limits": ([_made(), _made(limits="elapsed_s<=9")], STUDY),
        "datasets": ([_made(), _made(dataset="diabetes", key="d")], DATASETS),
    },
)
def test_studies_have_the_kind_of_what_they_differ_in(studies, kind):
    """Limits or dataset."""
    assert kind_of(together(*studies)) == kind
