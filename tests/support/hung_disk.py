"""A disk that does not answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ANSWERS_AT_LAST_AFTER_S = 40.0


@contextmanager
def hung_disk(folder: Path) -> Iterator[None]:
    """Files below a folder are opened only when the block has ended."""
    answers, open_at_once = threading.Event(), os.open

    def hung_open(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path).startswith(str(folder)):
            answers.wait(ANSWERS_AT_LAST_AFTER_S)
        return open_at_once(path, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", hung_open)
        try:
            yield
        finally:
            answers.set()
