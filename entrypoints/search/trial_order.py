"""The order of a study's trials."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

DEFAULT_REPEATS = 3  # of one configuration of the user's own algorithm,
MIN_REPEATED = 8  # configurations in the study, or none is repeated by default
Values = dict[str, Any]  # of the hyperparameters of one trial


def in_order(chosen: list[Values], seed: int, repeats: int | None, own: Collection[str]) -> list[tuple[Values, int]]:
    """The configurations, shuffled, each with its repetition: the one in the middle of their list runs several times.

    In grid order, memory that a process keeps from earlier trials would look like the effect of a hyperparameter.

    Args:
        chosen: the configurations to try.
        seed: the seed of the shuffle.
        repeats: how often the one from the middle runs; None: three times in a longer study of the user's own
            algorithm, where nothing else shows the noise, else once.
        own: the names of the user's own algorithms.
    """
    shuffled = random.Random(seed).sample(chosen, len(chosen))
    times = repeats or (DEFAULT_REPEATS if own and len(chosen) >= MIN_REPEATED else 1)
    if times < 2 or not chosen:
        return [(values, 0) for values in shuffled]
    among = [values for values in chosen if values["algorithm"] in own] or chosen
    repeated = among[len(among) // 2]
    ordered = [(values, 0) for values in shuffled if values is not repeated]
    total = len(ordered) + times
    for repeat in range(times):  # spread evenly
        ordered.insert(int((repeat + 0.5) * total / times), (dict(repeated), repeat))
    return ordered
