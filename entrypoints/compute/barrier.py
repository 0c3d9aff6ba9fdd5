"""Where the first trials of a study wait for each other.

Tune gives a finished trial's process to the next trial and drops the process that was starting for it. With trials
shorter than a process's start, one process would end up with all the work.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import RayError
from ray.experimental import internal_kv

WAIT_TIMEOUT_S = 60.0
BEGIN_TIMEOUT_S = 5.0  # by then Tune knows of each process that is up
POLL_S = 0.01  # for each process that waits, so that many ask no more often than few
MAX_POLL_S = 0.2

_ARRIVED, _BROUGHT, _BEGUN, _OPEN = "arrived", "brought", "begun", "open"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Barrier:
    """A barrier for ``parties`` processes of a Ray that is running.

    It is a few keys in the table that Ray's head process keeps for all nodes. A process that does not come costs time,
    not the study.

    Attributes:
        parties: how many processes wait for each other.
        name: of its keys.
    """

    parties: int
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def wait(self) -> bool:
        """Arrive, and wait for the others, but at most a minute.

        False for a process that comes later, which does not wait.
        """
        if len(self._keys(_ARRIVED)) >= self.parties or self._keys(_OPEN):
            return False
        self._meet(_ARRIVED, self.parties, WAIT_TIMEOUT_S)
        return True

    def bring(self, found: Any) -> None:
        """Store what this process has found, as JSON, and wait for those that arrived with it."""
        self._meet(_BROUGHT, len(self._keys(_ARRIVED)), WAIT_TIMEOUT_S, found)

    def begin(self) -> None:
        """Note that Tune has started this process's trial, and wait for the others for a few seconds."""
        self._meet(_BEGUN, len(self._keys(_ARRIVED)), BEGIN_TIMEOUT_S)

    def brought(self) -> list[Any]:
        """What the processes have found."""
        return [json.loads(internal_kv._internal_kv_get(key)) for key in self._keys(_BROUGHT)]

    def remove(self) -> None:
        """Delete its keys: a cluster outlives the study."""
        with contextlib.suppress(RayError):
            internal_kv._internal_kv_del(self._key(), del_by_prefix=True)

    def _key(self, kind: str = "") -> str:
        return f"sysmetrics/{self.name}/{kind}"

    def _keys(self, kind: str) -> list[bytes]:
        return list(internal_kv._internal_kv_list(self._key(kind)))

    def _put(self, kind: str, value: Any = None) -> None:
        internal_kv._internal_kv_put(f"{self._key(kind)}/{uuid.uuid4().hex}", json.dumps(value))

    def _meet(self, kind: str, parties: int, timeout_s: float, found: Any = None) -> None:
        """Wait until this number have come this far, or one that waits has given up."""
        self._put(kind, found)
        deadline = time.monotonic() + timeout_s
        while len(self._keys(kind)) < parties and not self._keys(_OPEN):
            if time.monotonic() > deadline:
                logger.warning("The study starts without waiting for all of its processes: not within %g s", timeout_s)
                self._put(_OPEN)
            time.sleep(min(MAX_POLL_S, POLL_S * self.parties))
