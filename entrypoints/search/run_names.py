"""What trials differ in, and the names of their runs by that, short enough for legends: ``svm b16 lr0.001 a0.01``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from entrypoints.models.configuration import Configuration

# What these letters mean is the same in every study.
_KNOWN = {"batch_size": "b", "learning_rate": "lr", "alpha": "a", "tol": "tol", "algorithm": ""}


def searched(trials: Sequence[Configuration]) -> list[str]:
    """The names of what is searched, in the order of the first trials that have them."""
    return list(dict.fromkeys(chain(*(trial.searched for trial in trials))))


def varied(trials: Sequence[Configuration]) -> list[str]:
    """Those of which trials have different values."""
    return [name for name in searched(trials) if len({repr(trial.searched.get(name)) for trial in trials}) > 1]


def run_names(trials: Sequence[Configuration]) -> dict[str, str]:
    """The name of each trial of a study, by the id of its configuration: the values in which they differ.

    The algorithm stands by its class alone, a repetition has its number in front. Each other value follows the
    initials of its hyperparameter (``hidden_layer_sizes``: ``hls``), or its whole name where the initials have
    another meaning in the study, or end in a digit.
    """
    names = searched(trials)
    initials = {name: "".join(word[:1] for word in name.split("_")) for name in names} | _KNOWN
    times = Counter(initials.values())
    short = dict(_KNOWN)
    for name in set(names) - set(_KNOWN):
        letters = initials[name]
        short[name] = letters if times[letters] == 1 and not letters[-1:].isdigit() else f"{name}="
    shown = varied(trials) or names
    return {trial.id: _name(trial, [name for name in trial.searched if name in shown], short) for trial in trials}


def _name(trial: Configuration, shown: Sequence[str], short: Mapping[str, str]) -> str:
    # The first run of a repeated configuration is not numbered, the next one is #2.
    parts = [f"#{trial.repeat + 1}"] if trial.repeat else []
    for name in shown:
        value = trial.searched[name]
        parts.append(trial.algorithm.rpartition(".")[2] if name == "algorithm" else _joined(short[name], value))
    return " ".join(parts)


def _joined(name: str, value: Any) -> str:
    """A name and its value as the user gave it, of a number that was drawn four digits: ``lr0.001``, ``s=adam``."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value).replace(", ", ",")
    needs_sign = not (name.endswith("=") or text[:1].isdigit() or text[:1] == "[")
    return f"{name}={text}" if needs_sign else f"{name}{text}"
