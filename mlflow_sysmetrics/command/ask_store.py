"""Ask MLflow's store, or say in one line why it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

from mlflow_sysmetrics.common.redact import check_address, redacted, redacted_text
from mlflow_sysmetrics.common.threads import within
from mlflow_sysmetrics.common.time_limits import COMMAND_ANSWER_S
from mlflow_sysmetrics.delivery.store import one_line, why_unknown

T = TypeVar("T")


class StoreError(click.ClickException):
    """The store does not do what it was asked."""

    exit_code = 2


def ask_store(uri: str, question: Callable[[], T]) -> T:
    """The answer to this question. StoreError, without passwords: the address is wrong, it raised or took long."""
    try:
        check_address(uri)
        return within(COMMAND_ANSWER_S, question)
    except UnsupportedModelRegistryStoreURIException:
        said = why_unknown(uri)
    except Exception as error:  # of a database or a network, too
        said = redacted_text(one_line(error))
    raise StoreError(f"{redacted(uri)}: {said}")
