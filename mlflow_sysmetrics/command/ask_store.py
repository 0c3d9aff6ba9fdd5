"""Ask MLflow's store, or say in one line why it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

from mlflow_sysmetrics.delivery import one_line, why_unknown, within
from mlflow_sysmetrics.redact import check, redacted_text

T = TypeVar("T")


class NoAnswerError(Exception):
    """The store gave no answer, or an error. The text says why, in one line without passwords."""


def ask_store(uri: str, within_s: float, question: Callable[[], T]) -> T:
    """Call ``question`` and return its answer within some seconds.

    Raises:
        NoAnswerError: the address is wrong, or the question took too long or raised an error.
    """
    try:
        check(uri)
        return within(within_s, question)
    except UnsupportedModelRegistryStoreURIException as error:
        raise NoAnswerError(why_unknown(uri)) from error
    except Exception as error:  # of a database or a network, too
        raise NoAnswerError(redacted_text(one_line(error))) from error
