"""Where the best value of a hyperparameter is an end of its range: what lies beyond may be better."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from entrypoints.models.learners import ALGORITHMS
from entrypoints.search.record import TrialRecord

OPTIONS = {"learning_rate": "learning_rates", "alpha": "alphas"}
NEXT = 2  # values beyond


def sentences(
    ranked: Sequence[TrialRecord],
    trials: Iterable[TrialRecord],
    score: str,
    margin: float | None,
    drawn: Container[str] = (),
) -> list[str]:
    """One sentence for each number of the best trial that is the smallest or largest tried with its algorithm.

    Only where the best trial beats the best one of the next value inside by more than noise. Not for batch sizes,
    which end where the rows do, nor for tols and a value of 0. The next values go on as the last two did.

    Args:
        ranked: the trials that can be chosen, best first.
        trials: all that were tried.
        score: what ranks them.
        margin: by how much scores must differ to be told apart; None where that is unknown, and nothing is said.
        drawn: hyperparameters that were drawn from a distribution, and so have no listed end.
    """
    if not ranked or margin is None:
        return []
    searched = ranked[0].configuration.searched
    algorithm = ranked[0].configuration.algorithm
    tried = [trial.configuration.searched for trial in trials if trial.configuration.algorithm == algorithm]
    alike = [trial for trial in ranked if trial.configuration.algorithm == algorithm]
    found = []
    for name, value in searched.items():
        if name in ("batch_size", "tol") or name in drawn or not _is_number(value) or value <= 0:
            continue
        values = sorted({each[name] for each in tried if _is_number(each.get(name)) and each[name] > 0})
        if len(values) > 1 and value in (values[0], values[-1]):
            inner = values[1:] if value == values[0] else values[-2::-1]
            if not _beats(alike, name, inner, score, margin):
                continue
            ratio = values[1] / values[0] if value == values[0] else values[-2] / values[-1]
            listed = [f"{value / ratio**step:.4g}" for step in range(NEXT + 1)]
            end = "smallest" if value == values[0] else "largest"
            advice = _advice(name, listed, built_in=algorithm in ALGORITHMS)
            found.append(f"The best {name}, {value:g}, is the {end} that was tried; {advice}")
    return found


def _beats(alike: Sequence[TrialRecord], name: str, inner: Sequence[float], score: str, margin: float) -> bool:
    """Whether the best trial is better, beyond noise, than the best one of the nearest value that has any."""
    for value in inner:
        others = [trial for trial in alike if trial.configuration.searched.get(name) == value]
        if others:
            return abs(alike[0].figures[score] - others[0].figures[score]) > margin
    return True


def _advice(name: str, listed: list[str], *, built_in: bool) -> str:
    if built_in:
        return f"look beyond it with -P {OPTIONS[name]}={','.join(listed)}."
    return f"look beyond it with {', '.join(listed[1:])} in grid."


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
