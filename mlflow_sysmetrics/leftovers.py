"""What a sink could not write by its end goes to disk, a spool for each run, from where `sync` delivers it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlflow_sysmetrics.points import Point
from mlflow_sysmetrics.spool import ForeignSpoolError, Header, SpoolFile, SpoolInUseError, spool_folder, spool_path

logger = logging.getLogger(__name__)


def keep(left: Iterable[tuple[Header, Sequence[Point]]], folder: str | Path | None = None) -> int:
    """Write a spool for each of these runs into a folder, by default the loggers'; return how many. Never raises."""
    place, moment, kept = spool_folder(folder), time.time_ns(), 0
    for number, (header, points) in enumerate(left):
        try:
            spool = SpoolFile.create(spool_path(place, header, f"left {moment} {number}"), header)
        except (OSError, SpoolInUseError, ForeignSpoolError) as error:
            logger.warning("what MLflow did not take of run %s is lost. %s", header.name or header.run_id, error)
            continue
        try:
            spool.append(points)
            kept += 1
        except OSError as error:
            logger.warning("%d points of run %s are lost. %s", len(points), header.name or header.run_id, error)
        finally:
            spool.close(keep=True)
    return kept
