"""Save what a writer could not deliver to disk: a spool for each run, which `sync` delivers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.spool import Header, SpoolFile, spool_folder, spool_path
from mlflow_sysmetrics.delivery.time_limit import within
from mlflow_sysmetrics.redact import get_logger

logger = get_logger(__name__)


def keep(left: Iterable[tuple[Header, Sequence[Point]]], folder: str | Path | None = None, within_s: float = 10) -> int:
    """Write a spool for each of these runs into a folder, by default the loggers'. Return their number; never raise."""
    try:
        return within(within_s, lambda: _keep(left, spool_folder(folder)))
    except TimeoutError:
        logger.warning("what MLflow did not take may be lost: the disk did not answer within %g s", within_s)
        return 0


def _keep(left: Iterable[tuple[Header, Sequence[Point]]], place: Path) -> int:
    moment, waiting, lost = time.time_ns(), [], list[str]()
    for number, (header, points) in enumerate(left):  # first how all runs ended, since points may fill the disk
        path = spool_path(place, header, f"left {moment} {number}")
        try:
            SpoolFile.create(path, header).close(keep=True)
            waiting.append((path, header, points))
        except Exception as error:
            lost.append(f"what MLflow did not take of run {header.name or header.run_id} is lost. {error}")
    for path, header, points in waiting:
        try:
            spool = SpoolFile.create(path, header)
            try:
                spool.append(points)
            finally:
                spool.close(keep=True)
        except Exception as error:
            lost.append(f"{len(points)} points of run {header.name or header.run_id} are lost. {error}")
    if lost:
        others = f" (and of {len(lost) - 1} more runs)" if lost[1:] else ""
        logger.warning("%s%s", lost[0], others)
    return len(waiting)
