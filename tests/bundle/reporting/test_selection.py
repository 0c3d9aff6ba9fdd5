"""Which studies of a real store a report is about, and the mistakes of a user who names others."""

import pytest
from cases import cases, tables
from commands import store_uri
from frames import study, together
from mlflow import MlflowClient
from records import OF_ALL, experiment_id, read, store_study, store_trial

from entrypoints.errors import UserError
from entrypoints.reporting.questions import DATASETS, STUDY
from entrypoints.reporting.questions.searches import others
from entrypoints.reporting.selection import by_ids, find, kind_of

TABLES = tables(__file__, "selection.yaml")
LIMITS = "elapsed_s<=9"


@pytest.fixture
def studies_client(module_store):
    """Of a store of this module's own; its experiment `studies` is empty."""
    store = MlflowClient(store_uri(module_store))
    experiment = store.create_experiment("studies")
    yield store
    store.rename_experiment(experiment, f"studies {experiment}")


def _stored(client, dataset="red_wine", key="k", limits=None, **about):
    """The id of a study."""
    tags = {"dataset": dataset, "study_key": key, "limits": limits}
    known = {f"sysmetrics.{name}": tag for name, tag in tags.items() if tag}
    return store_study(client, tags=OF_ALL | known, **about)


def _found(client):
    return [run.info.run_id for run in find(client, experiment_id(client), "red_wine")]


@cases("studies, found", TABLES["found"])
def test_newest_full_study_is_found_with_those_of_equal_data_under_limits(studies_client, studies, found):
    """The newest first, after the full one. Without a key nobody knows whether they trained the same."""
    ids = [_stored(studies_client, **each) for each in studies]
    assert _found(studies_client) == [ids[number] for number in found]


def test_search_that_tried_anything_else_is_another_one(studies_client):
    """One that tried a part of the same is not, however its values were written."""
    full = _stored(studies_client, trials=0)
    part, other = (_stored(studies_client, limits=LIMITS, space=space, trials=0) for space in ("a", "b"))
    for each, sizes in ((full, (8, 64)), (part, (8.0,)), (other, (8, 32))):
        for size in sizes:
            store_trial(studies_client, each, {"batch_size": size, "alpha": 0.1})
    assert _found(studies_client) == [full, other, part]
    assert others(read(studies_client, by_ids(studies_client, [full, part, other]))) == [other]


def test_dataset_without_a_study_is_answered_with_those_that_have_one(studies_client):
    """A study that failed does not count. What to run where there is none is in test_report."""
    _stored(studies_client, status="FAILED")
    for dataset in ("mine", "diabetes"):
        _stored(studies_client, dataset)
    says = "^dataset=red_wine: the experiment studies has no finished study of it, only of diabetes, mine; use one of"
    with pytest.raises(UserError, match=says):
        _found(studies_client)


def _named(client, *ids):
    return [run.info.run_id for run in by_ids(client, ids)]


def test_studies_that_are_named_come_once_the_full_one_first(studies_client):
    """In whatever order they are given. Those of several datasets keep theirs."""
    limited, full = _stored(studies_client, limits=LIMITS), _stored(studies_client)
    assert _named(studies_client, limited, full, limited) == [full, limited]
    other = _stored(studies_client, "diabetes")
    assert _named(studies_client, other, full) == [other, full]


def _mistake(client, *run_ids):
    """What is said of these runs, by whose ids they are named."""
    with pytest.raises(UserError) as error:
        kind_of(read(client, by_ids(client, run_ids)))
    return error.value.message.removeprefix(f"study={','.join(run_ids)}: ")


@cases("studies, says", TABLES["mistakes"])
def test_studies_that_cannot_be_read_together_are_a_mistake(studies_client, studies, says):
    """Their trials answer different questions, or not yet any."""
    ids = [_stored(studies_client, **each) for each in studies]
    assert _mistake(studies_client, *ids).startswith(says)


def test_trial_is_answered_with_its_study_and_a_deleted_run_with_where_to_look(studies_client):
    """The id that was meant."""
    study = _stored(studies_client, trials=0)
    says = f"this run is of the kind trial and not a study; give the one that it is part of, {study}"
    assert _mistake(studies_client, store_trial(studies_client, study)) == says
    studies_client.delete_run(study)
    assert _mistake(studies_client, study).startswith("MLflow has no run with this id; give ")


@cases("other, kind", [({"limits": LIMITS}, STUDY), ({"dataset": "diabetes", "key": "d"}, DATASETS)])
def test_studies_have_the_kind_of_what_they_differ_in(other, kind):
    """Limits or dataset."""
    first, second = (study({"alpha": [1, 2]}, of_study=about, seed=len(about)) for about in ({}, other))
    assert kind_of(together(first, second)) == kind
