"""The client of a server: a thread for each connection takes the next request, waits until it is due, and asks."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from mlflow_gate.served.connection import Connection, Endpoint, ServerError
from mlflow_gate.served.contention import Contention, CoreClocks, thread_waited_s
from mlflow_gate.served.latency import Asked, is_late
from mlflow_gate.served.pacing import Pacer

_AHEAD_S = 0.005  # before a request is due its thread is awake
_LOOK_S = 0.2
_DRAIN_S = 10.0  # for the last answers
_PR_SET_TIMERSLACK = 29

IsEnough = Callable[[float, int], bool]  # the time of the next request, in seconds, and the number of those before


@dataclass
class Client:
    """Asks for these requests, over and over, from `run` until `is_enough`; `asked` has what came of each.

    `cpu_s` is the server's CPU time meanwhile, and `contention` says whether the machine was busy.
    """

    server: Endpoint
    requests: Sequence[bytes]
    pacer: Pacer
    is_enough: IsEnough
    connections: int = 1
    asked: list[Asked] = field(default_factory=list)
    cpu_s: float = 0.0
    contention: Contention = field(init=False)
    _waited_s: float = 0.0  # for a core, all threads together
    _began: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _error: ServerError | None = None

    def run(self) -> None:
        """Ask until it is enough, and wait for the last answers, up to ten seconds.

        ServerError: there is no answer, or it is an error.
        """
        self.server.find_processes()
        cpu_s = self.server.cpu_seconds()
        clocks = CoreClocks.read(self.server.pids, cpu_s)
        self._ask_all()
        self.cpu_s = self.server.cpu_seconds() - cpu_s
        later = CoreClocks.read(self.server.pids, cpu_s + self.cpu_s, self._waited_s)
        requests_s = sum(request.latency_s for request in self.asked if request.is_answered)
        self.contention = clocks.until(later, requests_s, is_late(self.asked))

    def _ask_all(self) -> None:
        with ExitStack() as stack:
            threads = []
            for number in range(self.connections):
                connection = stack.enter_context(self.server.connected())
                name = f"sysmetrics client {number}"
                threads.append(threading.Thread(target=self._work, args=(connection,), name=name, daemon=True))
            self._began = time.monotonic()
            for thread in threads:
                thread.start()
            try:
                self._wait(threads)
            finally:
                self._stop.set()

    def _wait(self, threads: Sequence[threading.Thread]) -> None:
        while alive := [thread for thread in threads if thread.is_alive()]:
            alive[0].join(_LOOK_S)
            now_s = self._elapsed_s()
            if self._error:
                break
            if len(alive) < len(threads) and now_s > self.asked[-1].due_s + _DRAIN_S:
                return
        if self._error:
            raise self._error

    def _work(self, connection: Connection) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)  # this thread's sleep would else be 50 us too long
        try:
            while (number := self._next()) is not None:
                self._ask(connection, number)
        except ServerError as error:
            if not self._stop.is_set():
                self._error = error
                self._stop.set()
        with self._lock:
            self._waited_s += thread_waited_s()

    def _next(self) -> int | None:
        """The number of the next request; None: there is none."""
        with self._lock:
            now_s = self._elapsed_s()
            number = len(self.asked)
            due_s = now_s + self.pacer(now_s, number)
            if self._stop.is_set() or self.is_enough(max(due_s, now_s), number):
                return None
            self.asked.append(Asked(due_s, now_s))
            return number

    def _ask(self, connection: Connection, number: int) -> None:
        request = self.requests[number % len(self.requests)]
        asked = self.asked[number]
        wait_s = asked.due_s - self._elapsed_s()
        if wait_s > _AHEAD_S and self._stop.wait(wait_s - _AHEAD_S):
            return
        connection.renew()
        time.sleep(max(0.0, asked.due_s - self._elapsed_s()))
        asked.sent_s = self._elapsed_s()
        connection.ask(request)
        asked.done_s = self._elapsed_s()

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began
