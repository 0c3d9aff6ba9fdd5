"""Threads that never hold up the end of the program, and waiting for what may hang."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """A time limit that several steps share."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + min(seconds, threading.TIMEOUT_MAX)

    def left(self) -> float:
        """Seconds until then; 0 after."""
        return max(0.0, self._at - time.monotonic())


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread that does this work; its name is `mlflow-sysmetrics-<name>`.

    Raises RuntimeError where no thread can be started, as at the end of the interpreter.
    """
    run = contextvars.copy_context().run  # MLflow keeps its workspace there
    thread = threading.Thread(target=run, args=(work,), name=f"mlflow-sysmetrics-{name}", daemon=True)
    thread.start()
    return thread


def in_background(call: Callable[[], T]) -> Future[T]:
    """Call this in a thread of its own; the future is what it returns or raises.

    Where no thread can be started, it is called here and now.
    """
    future = Future[T]()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    try:
        start_thread(work, "question")
    except RuntimeError:
        work()
    return future


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return or raise what the call does, or TimeoutError: then its thread goes on alone, see `in_background`."""
    future = in_background(call)
    if not wait([future], seconds).done:
        del future  # a late answer is nobody's, such as an open file: it goes with its thread
        raise TimeoutError(f"no answer within {seconds:g} s")
    return future.result()
