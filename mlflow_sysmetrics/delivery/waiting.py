"""How long to wait for what may hang."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return or raise what the call does, or TimeoutError: then its thread goes on alone.

    Where no thread can be started, as at the end of the interpreter, it takes as long as it takes.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def answer(put: Callable[[tuple[T | None, BaseException | None]], None]) -> None:
        try:
            put((call(), None))
        except BaseException as error:
            put((None, error))

    run = contextvars.copy_context().run  # MLflow keeps its workspace there
    try:
        threading.Thread(target=run, args=(answer, answers.put), name="mlflow-sysmetrics-question", daemon=True).start()
    except RuntimeError:
        return call()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        del answers  # a late answer is nobody's, such as an open file: it goes with its thread
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]
