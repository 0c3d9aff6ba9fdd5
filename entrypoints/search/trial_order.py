"""The order of a study's trials."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

DEFAULT_REPEATS = 3  # of one configuration of the user's own algorithm,
MIN_REPEATED = 8  # configurations in the study, or none is repeated by default
Values = dict[str, Any]  # of the hyperparameters of one trial


def in_order(chosen: list[Values], seed: int, repeats: int | None, own: Collection[str]) -> list[tuple[Values, int]]:
    """The configurations, shuffled, each with its repetition: one from the middle of the grid runs several times.

    In grid order, memory that a process keeps from earlier trials would look like the effect of a hyperparameter.

    Args:
        chosen: the configurations to try.
        seed: the seed of the shuffle.
        repeats: how often the one from the middle runs; None: three times in a longer study of the user's own
            algorithm, where nothing else shows the noise, else once.
        own: the names of the user's own algorithms.
    """
    shuffled = list(chosen)
    random.Random(seed).shuffle(shuffled)
    times = repeats or (DEFAULT_REPEATS if own and len(chosen) >= MIN_REPEATED else 1)
    if times < 2 or not chosen:
        return [(values, 0) for values in shuffled]
    repeated = _middle(chosen, own)
    ordered = [(values, 0) for values in shuffled if values is not repeated]
    total = len(ordered) + times
    for repeat in range(times):  # spread evenly
        ordered.insert(int((repeat + 0.5) * total / times), (dict(repeated), repeat))
    return ordered


def _middle(chosen: list[Values], own: Collection[str]) -> Values:
    """The configuration nearest to the middle of what is tried; of an own algorithm, if there is one."""
    among = [each for each in chosen if each["algorithm"] in own] or chosen
    tried: dict[str, dict[str, Any]] = {}
    for values in among:
        for name, value in values.items():
            tried.setdefault(name, {})[repr(value)] = value
    places: dict[str, dict[str, float]] = {}
    for name, by_text in tried.items():
        numbers = all(isinstance(value, (int, float)) for value in by_text.values())
        texts = sorted(by_text, key=by_text.__getitem__) if numbers else list(by_text)
        places[name] = {text: abs(place - (len(texts) - 1) / 2) / len(texts) for place, text in enumerate(texts)}
    return min(among, key=lambda values: sum(places[name][repr(value)] for name, value in values.items()))
