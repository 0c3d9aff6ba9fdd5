"""The names of trials' runs, short enough for the lists and legends of the UI: ``svm b16 lr0.001 a0.01``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from entrypoints.models.configuration import Configuration

# What these letters mean is the same in every study.
_KNOWN = {"batch_size": "b", "learning_rate": "lr", "alpha": "a", "tol": "tol"}


def run_names(trials: Sequence[Configuration]) -> list[str]:
    """The name of each trial of a study: the values in which they differ.

    The algorithm stands by its class alone, a repetition has its number in front. Each other value follows the
    initials of its hyperparameter (``hidden_layer_sizes``: ``hls``), or its whole name where the initials have
    another meaning in the study.
    """
    each = [trial.searched for trial in trials]
    names = list(dict.fromkeys(name for searched in each for name in searched))
    varied = {name for name in names if len({repr(searched.get(name)) for searched in each}) > 1}
    short = _short_names(name for name in names if name != "algorithm")
    return [_name(trial, varied or set(names), short) for trial in trials]


def _name(trial: Configuration, shown: set[str], short: Mapping[str, str]) -> str:
    # The first run of a repeated configuration is not numbered, the next one is #2.
    parts = [f"#{trial.repeat + 1}"] if trial.repeat else []
    for name, value in trial.searched.items():
        if name in shown:
            parts.append(trial.algorithm.rpartition(".")[2] if name == "algorithm" else _joined(short[name], value))
    return " ".join(parts)


def _short_names(names: Iterable[str]) -> dict[str, str]:
    """The initials of each name; ``name=`` where they are those of another one, or end in a digit."""
    initials = {name: "".join(word[:1] for word in name.split("_")) for name in names} | _KNOWN
    times = Counter(initials.values())
    return {
        name: letters if name in _KNOWN or (times[letters] == 1 and not letters[-1:].isdigit()) else f"{name}="
        for name, letters in initials.items()
    }


def _joined(name: str, value: Any) -> str:
    """A name and its value as the user gave it, of a number that was drawn four digits: ``lr0.001``, ``s=adam``."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value).replace(", ", ",")
    return f"{name}{text}" if name.endswith("=") or text[:1].isdigit() or text[:1] == "[" else f"{name}={text}"
