"""Reports on repeated studies by the command, on studies in a real store: what they leave, and what their pages say."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from commands import in_use
from dataset_studies import Trial, write_study
from mlflow import MlflowClient
from repeated_studies import GRID, HYPERPARAMETERS, figures, noises
from reports import report_on
from scipy import stats

from entrypoints.report import report


def _trials(times: float = 1.0, seed: int = 0, best: int = 0) -> list[Trial]:
    """The grid, in an order of the seed's own."""
    columns = figures(times, seed)
    columns["val_rmse"][best] = 0.59
    rows = [
        (dict(zip(HYPERPARAMETERS, chosen, strict=True)), {name: values[place] for name, values in columns.items()})
        for place, chosen in enumerate(GRID)
    ]
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[place] for place in order]


@pytest.fixture(scope="module")
def client(module_store: Path) -> Iterator[MlflowClient]:
    """Of a store of this module's own, which commands use."""
    with in_use(module_store) as client:
        yield client


def _new(client: MlflowClient, seed: int, *, key: str = "", host: str = "one", folds: int = 10, **made: float) -> str:
    return write_study(
        client,
        "red_wine",
        _trials(seed=seed, **made),  # type: ignore[arg-type]
        host=host,
        params={"seed": seed, "folds": folds, "max_rows": 0},
        noises=noises().values(),
        tags={"study_key": key or f"of seed {seed}"},
    )


_once = functools.cache(_new)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def test_page_on_seeds_is_that_of_the_logged_tables(client: MlflowClient) -> None:
    """Worked out again from the table of configurations: what is best where, ranks, the ratio of a cost; figures."""
    ids = [_once(client, 0), _once(client, 1, times=1.8), _once(client, 2, best=4)]
    reported = report_on(client, ids)
    assert reported.name == "report red_wine, 3 studies"
    first, second = reported.page.splitlines()[:2]
    assert first == "## red_wine in 3 studies (seeds 0, 1, 2): the best configuration depends on the study"
    rows = reported.tables["stability_configurations"]
    scores = rows.pivot(index="configuration", columns="study", values="val_rmse")
    ranks = scores.rank()
    best = reported.tables["stability_best"]
    assert best["loss"].tolist() == pytest.approx(
        [scores[other][scores[own].idxmin()] - scores[other].min() for own in "abc" for other in "abc" if own != other]
    )
    assert best["verdict"].tolist() == ["the same", "worse", "the same", "worse", "worse", "worse"]
    chi2 = stats.friedmanchisquare(*ranks.to_numpy()).statistic
    assert (
        f"Ranks of 12 configurations agree to W {chi2 / (3 * 11):.2f} (1: fully; by chance 0.33; p < 0.001)" in second
    )
    times = rows.pivot(index="configuration", columns="study", values="training_time_s")
    ratio = (times["b"] / times["a"]).median()
    assert f"`training_time_s` is {ratio:.2f} times as high in b as in a (noise 2 %)" in second
    assert "Hosts differ" not in reported.page
    assert reported.figures == {"stability_ranks", "stability_costs"}
    assert reported.figures == set(re.findall(r"path=figures%2F(\w+)\.png", reported.page))
    assert all(f"/runs/{study}/overview" in reported.page for study in ids)
    assert first.removeprefix("## ") in reported.echoed


def test_page_on_hosts_says_so_and_averages_nothing(client: MlflowClient) -> None:
    """The same study on two machines: costs of each stand side by side, each the median of its own trials."""
    ids = [_once(client, 0), _once(client, 0, host="two", times=1.8)]
    reported = report_on(client, ids)
    assert reported.page.splitlines()[0] == "## red_wine in 2 studies: the same configuration is best in all"
    assert "### Costs\n\nHosts differ: a ran on one; b ran on two: their costs are compared, never" in reported.page
    rows = reported.tables["stability_configurations"]
    medians = rows.groupby("study")["training_time_s"].median()
    cells = f"| `training_time_s` | {medians['a']:.3g} in a | {medians['b']:.3g} in b | 1.80 |"
    assert cells in reported.page
    pooled = f"{rows['training_time_s'].median():.3g}"
    assert pooled not in reported.page


def test_repeated_study_agrees_with_itself(client: MlflowClient) -> None:
    """Nothing is said to differ."""
    reported = report_on(client, [_once(client, 0), _new(client, 0)])
    costs = reported.tables["stability_costs"]
    assert set(costs["verdict"]) == {"agrees"}
    assert "2 of 2 figures agree within" in reported.page.splitlines()[1]
    assert "times as high" not in reported.page
    assert pd.Series(_numbers(reported.page.splitlines()[1])).isin([12, 1, 0.5, 0.001, 5, 2, 0]).all()


@pytest.mark.parametrize(
    ("other", "says"),
    [
        pytest.param({"seed": 1, "folds": 5}, "since their folds differ", id="folds"),
        pytest.param({"seed": 0, "key": "of another table"}, "since their data differ", id="table"),
    ],
)
def test_studies_that_differ_in_more_are_refused(client: MlflowClient, other: dict[str, int], says: str) -> None:
    """In one sentence, in the terminal."""
    ids: Sequence[str] = [_once(client, 0), _once(client, **other)]  # type: ignore[arg-type]
    result = CliRunner().invoke(report, ["--study", ",".join(ids)])
    assert (result.exit_code, says in result.output) == (1, True)
    assert result.output.startswith(f"Error: study={','.join(ids)}: they cannot be compared, ")
