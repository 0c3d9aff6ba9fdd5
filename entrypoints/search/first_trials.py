"""Before the first trials of a study begin, each kind of trial is timed, in the processes that wait anyway."""

from __future__ import annotations

from dataclasses import dataclass

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


def expected(barrier: Barrier, trials: list[Configuration], data: Prepared, cpus: int) -> Forecast:
    """How long a search will take, from what the processes have left at the barrier, or else timed in this process.

    Args:
        barrier: of the first trials.
        trials: of the whole study.
        data: what they are trained on.
        cpus: how many run at once.
    """
    return forecast(trials, cpus, barrier.brought() or [time_kinds(one_of_each(trials), data)])
