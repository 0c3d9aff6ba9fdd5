"""How long to wait for what may hang, and when to try it again."""

from __future__ import annotations

import contextvars
import queue
import random
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
MIN_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0


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


def pause_after(failures: int, *, closing: bool = False) -> float:
    """Seconds to the next attempt after this number of failures in a row. While `closing` they do not grow.

    Jitter, so that clients do not reconnect at the same moment.
    """
    longest = MIN_PAUSE_S if closing else MAX_PAUSE_S
    return min(MIN_PAUSE_S * 2.0 ** min(failures - 1, 10), longest) * random.uniform(0.5, 1.0)
