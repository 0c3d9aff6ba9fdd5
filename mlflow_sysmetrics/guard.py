"""What keeps our own faults out of the user's program."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mlflow_sysmetrics.redact import get_logger

logger = get_logger(__name__)
_logged: set[tuple[str, str]] = set()


@contextlib.contextmanager
def never_raises(what: str) -> Iterator[None]:
    """Log what is raised inside, each kind of error once, and go on. Also a decorator; a call that fails gives None."""
    try:
        yield
    except Exception as error:
        kind = what, f"{type(error).__name__}: {error}"
        if kind not in _logged:
            _logged.add(kind)
            logger.warning("%s failed; the program goes on", what, exc_info=True)
