"""What stays the same when a study is repeated, with another seed, on another machine or as it was.

Studies are compared configuration by configuration, and nothing is averaged over them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from string import ascii_lowercase
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from entrypoints.errors import UserError
from entrypoints.limits.noise import TOLD_P
from entrypoints.models.configuration import key
from entrypoints.reporting import hosts, statistics
from entrypoints.reporting.findings import Findings, records
from entrypoints.reporting.report_kind import SEED
from entrypoints.reporting.stability import costs
from entrypoints.reporting.studies import Study

TOP = 5  # the best configurations, of which is counted how many are the same
MAX_CELLS = 500  # studies times configurations, up to which ranks are permuted; beyond it F is exact enough
SAME, WITHIN, WORSE, INCOMPLETE, UNCLEAR = "the same", "within noise", "worse", "did not come to its end", "unclear"


@dataclass
class Stability:
    """What was found.

    Attributes:
        studies: by what the page calls them, a letter each.
        shared: how many configurations all studies tried.
        found: the tables ``studies``, ``stability_configurations``, ``stability_best``, ``stability_choice``,
            ``stability_ranks`` and ``stability_costs``; and a sentence for what cannot be said.
    """

    studies: Mapping[str, Study]
    shared: int
    found: Findings = field(default_factory=Findings)

    @property
    def seeds(self) -> list[str]:
        """The seeds that are known, each once."""
        return list(dict.fromkeys(each.fixed[SEED] for each in self.studies.values() if SEED in each.fixed))


def compare(studies: Sequence[Study]) -> Stability:
    """Compare full studies of one dataset that searched the same, configuration by configuration.

    Returns:
        Of its tables, ``stability_best`` has a row for each study's best configuration in each other study:

        - study, in_study, configuration
        - score, best_score: its own there, and that of the best there
        - loss: how much worse it is than the best there, in the score's unit
        - margin: that study's noise margin of the score; NaN where it is unknown
        - p_bonferroni: of a t-test of that loss, adjusted for all configurations and all rows
        - verdict: "the same" where it is the best there, too; "within noise" where the loss is within the margin;
          "worse" where p_bonferroni is below 0.01; "did not come to its end" there; else "unclear"

        ``stability_choice`` has one row: the configuration whose largest loss over the studies is least (worst_loss),
        and, where the noise of each study is known, how many are within it of the best in all (equal_in_all).

        ``stability_ranks`` has a row per pair of studies (first, second): the configurations that are complete in all
        studies; spearman; top: how many of the best are looked at, top_shared: those that are so in both, by_chance:
        how many that would be of random ranks. Over all studies: kendalls_w, w_by_chance (its mean over random ranks),
        p_value (the larger of Iman and Davenport's and, where there are few, by permutation), top_shared_by_all.

        ``stability_costs``: see there.

    Raises:
        UserError: they tried no configuration in common.
    """
    named = dict(zip(ascii_lowercase, studies, strict=False))
    tried = [{_key(study, row) for row in records(study.trials)} for study in studies]
    shared = set.intersection(*tried)
    if not shared:
        raise UserError(
            f"study={','.join(study.run_id for study in studies)}: they tried no configuration in common; give studies "
            "of the same grid"
        )
    stability = Stability(named, len(shared))
    found, complete = stability.found, {name: _complete(study, shared) for name, study in named.items()}
    found.add("studies", [_about(name, study) for name, study in named.items()])
    if len(set.union(*tried)) > len(shared):
        found.open_questions.append(
            f"{len(set.union(*tried)) - len(shared)} configurations were not tried in all studies; they are left out."
        )
    if studies[0].score is None:
        found.open_questions.append("Best configuration and ranks: nothing says what ranks the trials; give metric.")
    else:
        _scores(stability, complete)
    costs.add(found, named, complete)
    return stability


def _key(study: Study, row: Mapping[str, Any]) -> str:
    """What tells a configuration from others."""
    return key({name: row[name] for name in study.hyperparameters if row[name] == row[name]})


def _complete(study: Study, shared: set[str]) -> pd.DataFrame:
    """The shared configurations that came to their end, the best first, by what tells them apart."""
    rows = study.complete.copy()
    rows.index = pd.Index([_key(study, row) for row in records(rows)])
    rows["configuration"] = [
        ", ".join(f"{name}={row[name]}" for name in study.hyperparameters if row[name] == row[name]) or "the only one"
        for row in records(rows)
    ]
    kept: pd.DataFrame = rows[rows.index.isin(list(shared)) & ~rows.index.duplicated()]
    return kept


def _about(name: str, study: Study) -> dict[str, Any]:
    return {
        "study": name,
        "name": study.name,
        "study_id": study.run_id,
        "seed": study.fixed.get(SEED),
        "trials": len(study.trials),
        "complete": len(study.complete),
        "host": hosts.called(study, list(study.hosts)),
    }


def _scores(stability: Stability, complete: Mapping[str, pd.DataFrame]) -> None:
    """Best configurations and ranks, of those that came to their end with a score."""
    first, found = next(iter(stability.studies.values())), stability.found
    score, sign = str(first.score), -1.0 if first.higher_is_better else 1.0
    scored = {name: rows[np.isfinite(rows[score])] for name, rows in complete.items() if score in rows}
    if len(scored) < len(complete) or any(rows.empty for rows in scored.values()):
        found.open_questions.append("Best configuration and ranks: a study has no complete trial of a shared one.")
        return
    losses = {name: sign * (rows[score] - rows[score].iloc[0]) for name, rows in scored.items()}
    found.add("stability_best", _best(stability.studies, scored, losses, score))
    common: pd.DataFrame = pd.DataFrame(losses).dropna()
    margins: pd.Series[float] = pd.Series({name: _margin(study) for name, study in stability.studies.items()})
    equal = common.le(margins).all(axis=1) if margins.notna().all() else None
    ranks = common.rank()
    called = scored[next(iter(scored))]["configuration"]
    for name, rows in scored.items():
        own = rows.reindex(common.index)
        scored[name] = own.assign(configuration=called.reindex(common.index), study=name, rank=ranks[name])
        if equal is not None:
            scored[name]["equal_in_all"] = equal
    found.add("stability_configurations", pd.concat(scored.values()))
    if len(common):
        worst = common.max(axis=1)
        choice = {"configuration": called[worst.idxmin()], "worst_loss": worst.min(), "configurations": len(common)}
        found.add("stability_choice", [choice | ({} if equal is None else {"equal_in_all": int(equal.sum())})])
    if len(common) < statistics.MIN_VALUES:
        found.open_questions.append(
            f"Ranks: {len(common)} configurations came to their end in all studies, and {statistics.MIN_VALUES} are "
            "needed."
        )
        return
    found.add("stability_ranks", _ranks(ranks))


def _margin(study: Study) -> float:
    noise = study.noises.get(str(study.score))
    return math.nan if noise is None or noise.margin is None else noise.margin


def _best(
    studies: Mapping[str, Study], scored: Mapping[str, pd.DataFrame], losses: Mapping[str, pd.Series[float]], score: str
) -> list[dict[str, Any]]:
    rows = []
    for name, own in scored.items():
        best = own.index[0]
        for other, study in studies.items():
            if other == name:
                continue
            there, loss = scored[other], float(losses[other].get(best, math.nan))
            p = _p_of_loss(study, loss, comparisons=len(there) - 1) * len(studies) * (len(studies) - 1)
            row = {
                "study": name,
                "in_study": other,
                "configuration": own["configuration"].iloc[0],
                "score": there[score].get(best, math.nan),
                "best_score": there[score].iloc[0],
                "loss": loss,
                "margin": _margin(study),
                "p_bonferroni": min(p, 1.0),
            }
            rows.append(row | {"verdict": _verdict_of_best(row)})
    return rows


def _p_of_loss(study: Study, loss: float, comparisons: int) -> float:
    """Of a t-test of two configurations, adjusted for the best being one of many; NaN where noise is unknown."""
    noise = study.noises.get(str(study.score))
    if noise is None or not noise.noise or math.isnan(loss):
        return math.nan
    return float(2 * stats.t.sf(loss / noise.noise, noise.degrees_of_freedom)) * max(comparisons, 1)


def _verdict_of_best(row: Mapping[str, Any]) -> str:
    if math.isnan(row["loss"]):
        return INCOMPLETE
    if row["loss"] <= 0:
        return SAME
    if row["loss"] <= row["margin"]:
        return WITHIN
    return WORSE if row["p_bonferroni"] < TOLD_P else UNCLEAR


def _ranks(ranks: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per pair of studies, of ranks (configuration, study)."""
    count, blocks = ranks.shape
    top = min(TOP, count // 2)
    best = {name: set(ranks.index[ranks[name].rank(method="first") <= top]) for name in ranks}
    p, w = math.nan, math.nan
    if (ranks.nunique() > 1).any():
        chi2 = float(stats.friedmanchisquare(*ranks.to_numpy()).statistic)
        w = statistics.kendalls_w(chi2, blocks, count)
        p = statistics.iman_davenport(chi2, blocks, count)[1]
        p = max(p, statistics.by_chance(ranks.T)) if count * blocks <= MAX_CELLS else p
    overall = {
        "kendalls_w": w,
        "w_by_chance": 1 / blocks,
        "p_value": p,
        "top_shared_by_all": len(set.intersection(*best.values())),
    }
    return [
        {
            "first": first,
            "second": second,
            "configurations": count,
            "spearman": float(ranks[first].corr(ranks[second])),
            "top": top,
            "top_shared": len(best[first] & best[second]),
            "by_chance": top * top / count,
            **overall,
        }
        for first, second in combinations(ranks, 2)
    ]
