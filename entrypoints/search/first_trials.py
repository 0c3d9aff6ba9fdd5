"""Before the first trials of a study begin: each kind of trial is timed, in the processes that wait anyway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ray import tune
from ray.actor import ActorHandle

from entrypoints.compute.barrier import Barrier
from entrypoints.datasets.prepared import Prepared
from entrypoints.limits.duration_forecast import Forecast, forecast, one_of_each, time_kinds
from entrypoints.limits.ledger import tell
from entrypoints.models.configuration import Configuration


@dataclass(frozen=True)
class FirstTrials:
    """The side of a trial's process.

    The processes wait for each other, time each kind of trial at once, as loaded as in the search, and leave what they
    have seen at the barrier and in the ledger.

    Attributes:
        barrier: where they wait.
        kinds: one configuration of each kind.
        ledger: of the costs of trials, if there are limits.
    """

    barrier: Barrier
    kinds: list[Configuration]
    ledger: ActorHandle | None = None

    def wait(self, data: Prepared) -> bool:
        """Return when this process's trial can begin; False where it takes the place of another process."""
        if not self.barrier.wait():
            return False
        timed = time_kinds(self.kinds, data)
        tell(self.ledger, [(kind, costs) for kind, costs in zip(self.kinds, timed, strict=True) if costs])
        self.barrier.bring(timed)
        return True

    def begin(self) -> None:
        """Return when Tune has begun all of the first trials.

        When a trial ends, Tune drops other processes that it does not yet know to be up. A skipped trial takes only a
        few milliseconds, so without this wait the whole study could run in one process.
        """
        self.barrier.begin()


class Forecaster(tune.Callback):
    """The study's side: how long the search will take.

    Args:
        barrier: that of the first trials; None if no trial is run.
        trials: of the whole study.
        data: what they are trained on.
        cpus: how many run at once.
        say: called with the forecast when the first trial begins.
    """

    def __init__(
        self,
        barrier: Barrier | None,
        trials: list[Configuration],
        data: Prepared,
        cpus: int,
        say: Callable[[Forecast], None],
    ) -> None:
        self._barrier, self._trials, self._data, self._cpus, self._say = barrier, trials, data, cpus, say
        self._said = False

    def on_trial_start(self, *args: Any, **info: Any) -> None:
        """Say it once: now each process has left its timings."""
        if not self._said:
            self._said = True
            self._say(self.expected)

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune writes its callbacks to disk, and this would write the data too."""
        return {}

    @cached_property
    def expected(self) -> Forecast:
        """From the timings of the trials' processes; without any, for example if no trial ran, from this process."""
        left = self._barrier.brought() if self._barrier else []
        return forecast(self._trials, self._cpus, left or [time_kinds(one_of_each(self._trials), self._data)])
