"""What trials differ in, and the names of their runs by that, short enough for legends: ``svm b16 lr0.001 a0.01``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from entrypoints.models.configuration import Configuration
from entrypoints.options.search_space import Space, is_distribution
from entrypoints.trials.frame import REFERENCE

# What these letters mean is the same in every study.
_KNOWN = {"batch_size": "b", "learning_rate": "lr", "alpha": "a", "algorithm": ""}


def searched(spaces: Sequence[Space]) -> list[str]:
    """The names of what is searched, in the order of the spaces."""
    return list(dict.fromkeys(chain(*spaces)))


def varied(spaces: Sequence[Space]) -> list[str]:
    """Those of which trials may have different values."""
    return [name for name in searched(spaces) if _may_differ(name, spaces)]


def _may_differ(name: str, spaces: Sequence[Space]) -> bool:
    if any(is_distribution(space.get(name)) for space in spaces):
        return True
    values = chain(*(space.get(name, [None]) for space in spaces))
    return len({repr(value) for value in values}) > 1


class RunNames:
    """Names trials by the values in which they differ.

    The algorithm stands by its class alone. Each other value follows the initials of its hyperparameter
    (``hidden_layer_sizes``: ``hls``), or its whole name where the initials have another meaning in the study, or end in
    a digit. A reference is named by what it is.
    """

    def __init__(self, spaces: Sequence[Space], references: Mapping[str, Configuration]) -> None:
        self._references = {each.id: f"{REFERENCE}: {name}" for name, each in references.items()}
        names = searched(spaces)
        initials = {name: "".join(word[:1] for word in name.split("_")) for name in names} | _KNOWN
        times = Counter(initials.values())
        self._shown = varied(spaces) or names
        self._short = dict(_KNOWN)
        for name in set(names) - set(_KNOWN):
            letters = initials[name]
            self._short[name] = letters if times[letters] == 1 and not letters[-1:].isdigit() else f"{name}="

    def of(self, trial: Configuration) -> str:
        """The name of a trial's run."""
        if trial.role:
            return self._references[trial.id]
        parts = []
        for name in self._shown:
            if name == "algorithm":
                parts.append(trial.algorithm.rpartition(".")[2])
            elif name in trial.searched:
                parts.append(_joined(self._short[name], trial.searched[name]))
        return " ".join(parts)


def _joined(name: str, value: Any) -> str:
    """A name and its value as the user gave it, of a number that was drawn four digits: ``lr0.001``, ``s=adam``."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value).replace(", ", ",")
    needs_sign = not (name.endswith("=") or text[:1].isdigit() or text[:1] == "[")
    return f"{name}={text}" if needs_sign else f"{name}{text}"
