"""In which run a program belongs, after what it has done with MLflow."""

from __future__ import annotations

import pytest

from mlflow_sysmetrics.command.tracked_run import State, TrackedRun
from mlflow_sysmetrics.delivery import RunRef

HOME = RunRef("a", "1")
ONE, TWO = RunRef("a", "2", "one"), RunRef("a", "3", "two")
ADOPTED, OWN, WAITING = State.ADOPTED, State.OWN, State.WAITING
WAITED = None


@pytest.mark.parametrize(
    ("home", "steps", "state", "run"),
    [
        pytest.param(HOME, [], WAITING, HOME, id="nothing yet"),
        pytest.param(HOME, [WAITED], OWN, HOME, id="none"),
        pytest.param(HOME, [ONE], ADOPTED, ONE, id="one"),
        pytest.param(HOME, [ONE, ONE, WAITED], ADOPTED, ONE, id="one, resumed"),
        pytest.param(HOME, [ONE, TWO, ONE], OWN, ONE._replace(run_id=None), id="two"),
        pytest.param(HOME, [WAITED, ONE], ADOPTED, ONE, id="one, late"),
        pytest.param(HOME, [WAITED, ONE, TWO], OWN, ONE._replace(run_id=None), id="two, late"),
        pytest.param(ONE, [WAITED, TWO], ADOPTED, ONE, id="given"),
    ],
)
def test_run_in_which_a_program_belongs(home: RunRef, steps: list[RunRef | None], state: State, run: RunRef) -> None:
    """After each run that it has opened, and the end of waiting."""
    tracked = TrackedRun(home)
    for step in steps:
        if step is WAITED:
            tracked.stop_waiting()
        else:
            tracked.opened(step)
    assert (tracked.state, tracked.run) == (state, run)
