"""Which studies go together, on which page, and what is said of those that do not."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from mlflow.entities import Dataset, DatasetInput, Run, RunData, RunInfo, RunInputs, RunTag

from entrypoints.errors import UserError
from entrypoints.reporting.report_kind import ReportKind, compared, kind_of
from entrypoints.reporting.studies import Study

SETTINGS = {"seed": "0", "folds": "10", "max_rows": "all"}
SEED_1 = {"fixed": SETTINGS | {"seed": "1"}, "key": "of seed 1"}
DIABETES = {"dataset": "diabetes", "key": "of diabetes"}
LIMITED = {"criteria": "elapsed_s<=9"}


def _study(
    dataset: str = "red_wine",
    key: str = "of seed 0",
    criteria: str = "",
    table: str = "t",
    fixed: dict[str, str] = SETTINGS,
    searched: tuple[str, ...] = ("alpha",),
    score: str = "val_rmse",
) -> Study:
    tags = {"dataset": dataset, "study_key": key} | ({"criteria": criteria} if criteria else {})
    info = RunInfo("1" * 32, "0", "me", "FINISHED", 0, 1, "active", run_name="tune")
    data = RunData(tags=[RunTag(f"sysmetrics.{name}", value) for name, value in tags.items()])
    inputs = RunInputs(dataset_inputs=[DatasetInput(Dataset(dataset, table, "local", "/"), [])])
    run = Run(info, data, inputs)
    return Study(run, pd.DataFrame(), pd.DataFrame(), list(searched), score, False, fixed=fixed)


@pytest.mark.parametrize(
    ("others", "kind", "name"),
    [
        pytest.param([], ReportKind.STUDY, "red_wine, 1 studies", id="one"),
        pytest.param([LIMITED], ReportKind.STUDY, "red_wine, 2 studies", id="one and its limits"),
        pytest.param([SEED_1], ReportKind.STABILITY, "red_wine, 2 studies", id="seeds"),
        pytest.param([{}, {}], ReportKind.STABILITY, "red_wine, 3 studies", id="repeated"),
        pytest.param([DIABETES], ReportKind.DATASETS, "red_wine, diabetes", id="datasets"),
    ],
)
def test_studies_have_the_kind_of_what_they_differ_in(
    others: list[dict[str, Any]], kind: ReportKind, name: str
) -> None:
    """Limits, seed or nothing, dataset; and are called by what is compared."""
    studies = [_study(), *(_study(**each) for each in others)]
    assert kind_of(studies) is kind
    assert compared(studies) == name


def test_rows_that_the_seed_draws_are_the_same_data() -> None:
    """With max_rows another seed is another table."""
    sampled = SETTINGS | {"max_rows": "100"}
    other = _study(table="u", fixed=sampled | {"seed": "1"}, key="k")
    assert kind_of([_study(fixed=sampled), other]) is ReportKind.STABILITY


@pytest.mark.parametrize(
    ("other", "says"),
    [
        pytest.param(
            SEED_1 | {"fixed": SETTINGS | {"seed": "1", "folds": "5"}}, "since their folds differ", id="folds"
        ),
        pytest.param({"fixed": SETTINGS | {"max_rows": "9"}}, "since their max_rows differ", id="rows"),
        pytest.param({"fixed": SETTINGS | {"alpha": "1"}, "searched": ()}, "since their alpha differ", id="searched"),
        pytest.param({"fixed": SETTINGS | {"algorithm": "mine"}}, "since their algorithm differ", id="a fixed one"),
        pytest.param({"score": "loss"}, "since their scores differ", id="scores"),
        pytest.param(SEED_1 | {"table": "u"}, "since their data differ", id="table"),
        pytest.param({"key": "other"}, "since their data differ", id="key at the same seed"),
    ],
)
def test_full_studies_that_differ_in_more_than_the_seed_are_a_mistake(other: dict[str, Any], says: str) -> None:
    """One sentence that names it."""
    with pytest.raises(UserError) as error:
        kind_of([_study(), _study(**other)])
    assert says in error.value.message
    assert "; give " in error.value.message


@pytest.mark.parametrize(
    ("studies", "says"),
    [
        pytest.param([{}, SEED_1, LIMITED], "several full studies are compared without those under", id="limits, too"),
        pytest.param([{}] * 27, "27 studies of one dataset were given; give at most 26", id="too many"),
    ],
)
def test_studies_without_a_page_of_their_own_are_a_mistake(studies: list[dict[str, Any]], says: str) -> None:
    """What is given, and what would do."""
    with pytest.raises(UserError, match=says):
        kind_of([_study(**each) for each in studies])
