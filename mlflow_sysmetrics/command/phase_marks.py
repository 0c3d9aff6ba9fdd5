"""Phases of a shell script: ``mlflow-sysmetrics phase load`` tells the process that watches the script."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow_sysmetrics.phases.totals import Phases, clean_name

VARIABLE = "MLFLOW_SYSMETRICS_PHASES"  # the file in which marks are
_MAX_LINE = 1000


class NotWatchedError(Exception):
    """This script is not watched; the text says what to do."""


def mark(name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Mark that a phase begins now and the one before it ends. With an empty name no phase begins.

    Raises:
        NotWatchedError: the script runs neither under ``mlflow-sysmetrics run`` nor under the project backend.
    """
    file = environ.get(VARIABLE)
    if not file:
        raise NotWatchedError(
            "this script is not being recorded; start it with `mlflow-sysmetrics run -- ./script.sh`, or its project "
            "with `mlflow run --backend system-metrics`"
        )
    line = f"{time.time()} {' '.join(name.split())[:_MAX_LINE]}\n".encode()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise NotWatchedError(f"the recording of this script has ended: {error}") from None
    try:
        os.write(descriptor, line)  # whole: shorter than what a pipe or a file takes at once
    finally:
        os.close(descriptor)


class PhaseMarks:
    """The marks of one script: a file of this user's own, looked at after each reading."""

    def __init__(self) -> None:
        self._folder: str | None = None
        with contextlib.suppress(OSError):  # no place for temporary files: then there are no phases
            self._folder = tempfile.mkdtemp(prefix="mlflow-sysmetrics-phases-")
            self._path.touch(mode=0o600)
        self._read_to = 0
        self._rest = b""

    @property
    def _path(self) -> Path:
        return Path(str(self._folder), "marks")

    @property
    def environment(self) -> dict[str, str]:
        """What the script has to find in its environment."""
        return {} if self._folder is None else {VARIABLE: str(self._path)}

    def look(self, phases: Phases) -> None:
        """Begin and end what was marked since the last look. Cheap where nothing was."""
        if self._folder is None:
            return
        try:
            if self._path.stat().st_size == self._read_to:
                return
            with self._path.open("rb") as file:
                file.seek(self._read_to)
                new = file.read()
        except OSError:
            return
        self._read_to += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            moment, _, name = line.decode(errors="replace").partition(" ")
            with contextlib.suppress(ValueError):  # a line that is none of ours
                phases.switch(clean_name(name) if name.strip() else None, float(moment))

    def close(self) -> None:
        """Remove the file."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
