"""A question to MLflow's store, and in one line why there is no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

from mlflow_sysmetrics.addresses import check, redacted_text
from mlflow_sysmetrics.delivery.store import one_line, why_unknown
from mlflow_sysmetrics.delivery.time_limit import within

T = TypeVar("T")


class NoAnswerError(Exception):
    """The store does not answer, or with an error: why, in one line without a password. Its cause is that error."""


def ask_store(uri: str, within_s: float, question: Callable[[], T]) -> T:
    """The answer of the store at this address to a question, which may take some seconds.

    Raises:
        NoAnswerError: the address is wrong, the question took too long, or has raised.
    """
    try:
        check(uri)
        return within(within_s, question)
    except UnsupportedModelRegistryStoreURIException as error:
        raise NoAnswerError(why_unknown(uri)) from error
    except Exception as error:  # of a database or a network, too
        raise NoAnswerError(redacted_text(one_line(error))) from error
