"""A disk that does not answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ANSWERS_AT_LAST_AFTER_S = 120.0


@dataclass
class HungDisk:
    """Whether it was asked for something, and whether it answers."""

    asked: threading.Event = field(default_factory=threading.Event)
    answers: threading.Event = field(default_factory=threading.Event)


@contextmanager
def hung_disk(folder: Path) -> Iterator[HungDisk]:
    """Files below a folder are opened only when it answers, or when the block has ended."""
    disk, open_at_once = HungDisk(), os.open

    def hung_open(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path).startswith(str(folder)):
            disk.asked.set()
            disk.answers.wait(ANSWERS_AT_LAST_AFTER_S)
        return open_at_once(path, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", hung_open)
        try:
            yield disk
        finally:
            disk.answers.set()
