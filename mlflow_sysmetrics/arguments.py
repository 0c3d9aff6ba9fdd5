"""Checks of arguments that several modules have."""

from __future__ import annotations

import math
from typing import Any


def check_seconds(**arguments: Any) -> None:
    """Raise ValueError for the first that is not a positive, finite number."""
    for name, value in arguments.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value!r}: give a positive number of seconds")
