"""What a sink could not write by its end goes to disk, a spool for each run, from where `sync` delivers it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlflow_sysmetrics.addresses import get_logger
from mlflow_sysmetrics.points import Point
from mlflow_sysmetrics.spool import ForeignSpoolError, Header, SpoolFile, SpoolInUseError, spool_folder, spool_path
from mlflow_sysmetrics.store import within

logger = get_logger(__name__)


def keep(left: Iterable[tuple[Header, Sequence[Point]]], folder: str | Path | None = None, within_s: float = 10) -> int:
    """Write a spool for each of these runs into a folder, by default the loggers'; return how many. Never raises."""
    try:
        return within(within_s, lambda: _keep(left, spool_folder(folder)))
    except TimeoutError:
        logger.warning("what MLflow did not take may be lost: the disk did not answer within %g s", within_s)
        return 0


def _keep(left: Iterable[tuple[Header, Sequence[Point]]], place: Path) -> int:
    moment, kept, lost = time.time_ns(), 0, list[str]()
    for number, (header, points) in enumerate(left):
        name = header.name or header.run_id
        try:
            spool = SpoolFile.create(spool_path(place, header, f"left {moment} {number}"), header)
        except (OSError, SpoolInUseError, ForeignSpoolError) as error:
            lost.append(f"what MLflow did not take of run {name} is lost. {error}")
            continue
        kept += 1
        try:
            spool.append(points)
        except OSError as error:  # its end and its parameters are kept
            lost.append(f"{len(points)} points of run {name} are lost. {error}")
        finally:
            spool.close(keep=True)
    if lost:
        others = f" (and of {len(lost) - 1} more runs)" if lost[1:] else ""
        logger.warning("%s%s", lost[0], others)
    return kept
