"""Texts for people: cut, listed, durations, and advice about names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

Echo = Callable[[str], None]

SHOWN = 160  # characters of a fact in a message


def shorten(text: str, length: int = SHOWN) -> str:
    """A text cut to a length in characters, with dots where it was cut."""
    return text if len(text) <= length else f"{text[: length - 4]} ..."


def one_line(error: BaseException, length: int = 200) -> str:
    """The first line of an error's text, without its full stop, to be put into a sentence."""
    lines = str(error).strip().splitlines()
    return shorten(lines[0].strip().rstrip("."), length) if lines else type(error).__name__


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names separated by commas; of many the first ones, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def closest(name: str, allowed: Iterable[str], default: str) -> str:
    """Advice that names the allowed name most like the given one, or the default advice if none is."""
    lower = {other.lower(): other for other in allowed}
    found = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"use {lower[found[0]]}, the closest name" if found else default


def duration(seconds: float) -> str:
    """A duration as people write it: 4 s, 2 min 5 s, 1 h 3 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
