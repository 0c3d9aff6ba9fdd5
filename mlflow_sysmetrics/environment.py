"""The environment of this process, changed for a while: for processes that are started meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def with_environment(more: Mapping[str, str]) -> Iterator[None]:
    """Have these variables set inside, and as they were before after it."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
