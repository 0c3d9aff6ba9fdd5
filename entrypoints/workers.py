"""The local Ray: started, stopped for good, and its workers held until all are up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

BARRIER_TIMEOUT_S = 60.0

logger = logging.getLogger(__name__)


def usable_cpus() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(cpus: int) -> None:
    """Start Ray on this machine with so many CPU cores; 0 means all that are usable."""
    with _process_group_of_its_own():
        ray.init(
            address="local",
            num_cpus=cpus or usable_cpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    quieten()


def quieten() -> None:
    """Tune prints a traceback per failed trial; the trial's run holds its error, and progress counts it."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _process_group_of_its_own() -> Iterator[None]:
    """Keep a signal that is sent to this process's group from Ray, which would end before the study could."""
    before = os.getpgrp() if hasattr(os, "getpgrp") else os.getpid()
    if before == os.getpid():  # the group's leader cannot leave it
        yield
        return
    os.setpgid(0, 0)
    try:
        yield
    finally:
        os.setpgid(0, before)


def stop() -> None:
    """End Ray and every process that it started; of a cluster, only what this process had there. Idempotent."""
    with contextlib.suppress(Exception):
        ray.shutdown()


@ray.remote(num_cpus=0)
class Barrier:
    """Holds the first trial of each worker until all workers are up.

    Tune gives a finished trial's process to the next trial and drops the process that was starting for it. With
    trials shorter than a process's start, one process would end up with all the work.
    """

    def __init__(self, parties: int) -> None:
        self._parties = parties
        self._all_here = asyncio.Event()

    async def wait(self) -> None:
        """Arrive, and wait for the others; later arrivals pass at once."""
        self._parties -= 1
        if self._parties <= 0:
            self.open()
        await self._all_here.wait()

    def open(self) -> None:
        """Let all pass, now and later."""
        self._all_here.set()


def beside_the_driver() -> NodeAffinitySchedulingStrategy:
    """Where an actor lives as long as the study does, whichever other node of a cluster dies."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def barrier(parties: int) -> ActorHandle:
    """A barrier for so many workers. Ray must be running."""
    return Barrier.options(scheduling_strategy=beside_the_driver()).remote(parties)  # type: ignore[attr-defined]


def wait_for_all(barrier: ActorHandle | None) -> None:
    """Wait at the barrier, but no longer than a minute after the first: a late worker costs time, not the study."""
    if barrier is None:
        return
    try:
        ray.get(barrier.wait.remote(), timeout=BARRIER_TIMEOUT_S)
    except ray.exceptions.RayError as error:
        logger.warning("The study starts without waiting for all of its processes: %s", error)
        barrier.open.remote()
