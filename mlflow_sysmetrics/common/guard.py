"""What keeps our own faults out of the user's program."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from types import ModuleType

from mlflow_sysmetrics.common.redact import get_logger

logger = get_logger(__name__)
_VARIES = re.compile(r"[-+.\w]*\d[-+.\w]*")  # a number, or a name with one
warn_once = functools.cache(logger.warning)
_logged: set[tuple[str, str]] = set()


@contextlib.contextmanager
def never_raises(what: str) -> Iterator[None]:
    """Log what is raised inside, each kind of error once, and go on. Also a decorator; a call that fails gives None.

    Errors that differ only in numbers are of one kind.
    """
    try:
        yield
    except Exception as error:
        kind = what, _VARIES.sub("", f"{type(error).__name__}: {error}")
        if kind not in _logged:
            _logged.add(kind)
            logger.warning("%s failed; the program goes on", what, exc_info=True)


def require_version(library: ModuleType, major: int) -> None:
    """Raise ImportError where a library is older than this."""
    if int(library.__version__.partition(".")[0]) < major:
        name = library.__name__
        raise ImportError(f"{name} {library.__version__} is too old to be measured; install {name}>={major}")
