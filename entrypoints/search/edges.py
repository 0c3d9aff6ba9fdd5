"""Where the best value of a hyperparameter is an end of its range: what lies beyond may be better."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from entrypoints.search.record import TrialRecord

NEXT = 2  # values beyond


def sentences(
    ranked: Sequence[TrialRecord],
    trials: Iterable[TrialRecord],
    score: str,
    margin: float | None,
    rows: int,
    not_listed: Container[str] = (),
) -> list[str]:
    """What to say of each number of the best trial that is the smallest or largest tried with its algorithm.

    A sentence each where the best trial beats the best one of the next value inside by more than noise, with the next
    values to try, which go on as the last two did; a last sentence for all others. Nothing of tol, of a value of 0,
    and where nothing lies beyond.

    Args:
        ranked: the trials that can be chosen, best first.
        trials: all that were tried.
        score: what ranks them.
        margin: by how much scores must differ to be told apart; None where that is unknown, and nothing is said.
        rows: the largest batch that is possible.
        not_listed: hyperparameters whose values the user did not list, and which so have no end: those drawn from a
            distribution, and batch sizes up to the rows.
    """
    if not ranked or margin is None:
        return []
    searched = ranked[0].configuration.searched
    algorithm = ranked[0].configuration.algorithm
    tried = [trial.configuration.searched for trial in trials if trial.configuration.algorithm == algorithm]
    alike = [trial for trial in ranked if trial.configuration.algorithm == algorithm]
    better, no_better = [], []
    for name, value in searched.items():
        if name == "tol" or name in not_listed or not _is_number(value) or value <= 0:
            continue
        values = sorted({each[name] for each in tried if _is_number(each.get(name)) and each[name] > 0})
        if len(values) < 2 or value not in (values[0], values[-1]):
            continue
        end, inner = ("smallest", values[1:]) if value == values[0] else ("largest", values[-2::-1])
        listed = _beyond(name, value, inner[0], rows)
        inside = _nearest(alike, name, inner)
        if not listed or (inside is None and name == "batch_size"):  # limits may have ended all of a dearer size
            continue
        if inside is None or abs(alike[0].figures[score] - inside.figures[score]) > margin:
            beyond = ", ".join([_text(value), *listed])
            better.append(
                f"The best {name}, {_text(value)}, is the {end} that was tried; look beyond it with "
                f"{name}: [{beyond}] in space."
            )
        else:
            than = _text(inside.configuration.searched[name])
            no_better.append(f"best {name}, {_text(value)}, is the {end} tried, but no better than {than} beyond noise")
    return [*better, *([f"The {'; the '.join(no_better)}."] if no_better else [])]


def _beyond(name: str, value: float, inside: float, rows: int) -> list[str]:
    """The next values beyond the end of a range; of batch sizes those that are possible."""
    values = [value * (value / inside) ** step for step in range(1, NEXT + 1)]
    if name != "batch_size":
        return [f"{each:.4g}" for each in values]
    sizes = dict.fromkeys(min(max(round(each), 1), rows) for each in values)
    return [str(size) for size in sizes if size != value]


def _nearest(alike: Sequence[TrialRecord], name: str, inner: Sequence[float]) -> TrialRecord | None:
    """The best trial of the nearest value that has any."""
    return next((trial for value in inner for trial in alike if trial.configuration.searched.get(name) == value), None)


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
