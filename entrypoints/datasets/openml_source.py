"""Tables from OpenML: downloads that end in bounded time, and private read-only master copies.

The openml package sets no time limits and deletes its own cache after a failed request. So it runs in a separate
process (``openml_download``) with a temporary cache, and this module keeps the downloaded tables in other files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from entrypoints.text import Echo, one_line, shorten

SERVER = "https://www.openml.org/api/v1/xml"
TIMEOUT_S = 6.0
MAX_BYTES = 4_000_000_000
START_LIMIT_S = 60.0  # until the openml package is imported
ECHO_EVERY_S = 4.0
ROOT = Path(__file__).parents[2]
TABLE = "table.parquet"
PROGRAM = (sys.executable, "-m", "entrypoints.datasets.openml_download")


class DownloadError(Exception):
    """A download that failed. Its text says why, as a clause."""


class UnknownIdError(DownloadError):
    """OpenML was reached and has no dataset of the id."""


@dataclass(frozen=True)
class About:
    """OpenML's metadata of a dataset; ``target`` is its default target, if it has one."""

    openml_id: int
    name: str
    target: str | None
    licence: str


@dataclass(frozen=True, eq=False)
class Raw:
    """A dataset as OpenML has it, with canonical dtypes."""

    about: About
    frame: pd.DataFrame


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where master copies are kept: $MLFLOW_SYSMETRICS_DATA, else a folder in the user's cache folder."""
    if chosen := environ.get("MLFLOW_SYSMETRICS_DATA"):
        return Path(chosen).expanduser()
    caches = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser() / "mlflow-sysmetrics-bundle"


@dataclass(frozen=True)
class OpenML:
    """An OpenML server and the master copies of its datasets.

    ``timeout_s`` bounds each connection attempt, each silence of the server, and each period in which it is too slow;
    ``max_bytes`` bounds the whole download. ``echo_every_s`` is the time between two lines of progress; ``program`` is
    the command that downloads.
    """

    server: str
    cache: Path
    timeout_s: float = TIMEOUT_S
    max_bytes: int = MAX_BYTES
    echo_every_s: float = ECHO_EVERY_S
    program: tuple[str, ...] = PROGRAM

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> OpenML:
        """OpenML's own server, or the address of its API in $MLFLOW_SYSMETRICS_OPENML_SERVER."""
        return cls(environ.get("MLFLOW_SYSMETRICS_OPENML_SERVER") or SERVER, cache_folder(environ))

    @property
    def host(self) -> str:
        """The server's name as messages show it."""
        return urlsplit(self.server).netloc or self.server

    @property
    def _folder(self) -> Path:
        return self.cache / re.sub(r"[^\w.-]", "_", self.host)

    def cached(self, openml_id: int, echo: Echo) -> Raw | None:
        """Return the master copy of a dataset; None if there is none, or with a line to ``echo`` if it is broken."""
        described = self._folder / f"{openml_id}.json"
        if not described.exists():
            return None
        try:
            stored = json.loads(described.read_text(encoding="utf-8"))
            file = self._folder / stored["file"]
            if _sha256(file) != stored["sha256"]:
                raise ValueError("its checksum is not the stored one")
            return Raw(About(**stored["about"]), pd.read_parquet(file))
        except (OSError, ValueError, KeyError, TypeError) as error:
            echo(f"The cached copy of openml:{openml_id} is not used: {one_line(error)}")
            return None

    def keep(self, raw: Raw, echo: Echo) -> None:
        """Store a master copy, read-only, replacing an older one. If it cannot be stored, ``echo`` gets a line.

        The description is written last and replaces the older one at once: a reader finds either copy, never a mixture.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder, prefix="new-") as folder:
                table, described = Path(folder, TABLE), Path(folder, "about.json")
                raw.frame.to_parquet(table)
                digest = _sha256(table)
                file = f"{raw.about.openml_id}-{digest[:16]}.parquet"
                content = {"file": file, "sha256": digest, "server": self.server, "about": asdict(raw.about)}
                described.write_text(json.dumps(content, indent=1), encoding="utf-8")
                for path, place in ((table, file), (described, f"{raw.about.openml_id}.json")):
                    path.chmod(0o444)
                    path.replace(self._folder / place)
            for other in self._folder.glob(f"{raw.about.openml_id}-*.parquet"):
                if other.name != file:
                    other.unlink()
        except OSError as error:
            echo(f"openml:{raw.about.openml_id} could not be kept in {self._folder}: {one_line(error)}")

    def download(self, openml_id: int, echo: Echo) -> Raw:
        """Return a dataset from the server; ``echo`` gets a line at once and then every four seconds.

        A server that refuses, is silent, breaks off or is too slow ends it within twice ``timeout_s`` for each of the
        at most two file formats.

        Raises:
            UnknownIdError: the server has no such dataset.
            DownloadError: anything else went wrong.
        """
        title = f"Downloading openml:{openml_id} from {self.host}"
        echo(title)
        with tempfile.TemporaryDirectory(prefix="openml-") as folder:
            request = {
                "openml_id": openml_id,
                "server": self.server,
                "folder": folder,
                "timeout_s": self.timeout_s,
                "max_bytes": self.max_bytes,
            }
            answer = self._run(request, Path(folder), lambda after: echo(f"{title}: {after}"))
            if "error" in answer:
                raise (UnknownIdError if answer["unknown_id"] else DownloadError)(answer["error"])
            about = About(openml_id, answer["name"], answer["target"], answer["licence"] or "none stated by OpenML")
            return Raw(about, pd.read_parquet(Path(folder, TABLE)))

    def _run(self, request: Mapping[str, Any], folder: Path, progress: Echo) -> dict[str, Any]:
        """Run the download process and return its last message."""
        with (folder / "stderr").open("wb") as errors:
            process = subprocess.Popen(
                [*self.program, json.dumps(request)],
                cwd=ROOT,
                env={**os.environ, "OPENML_CACHE_DIR": str(folder / "openml")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert process.stdout is not None
        try:
            message: dict[str, Any] = {}
            for message in self._messages(process.stdout.fileno(), progress):
                if "name" in message or "error" in message:
                    return message
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        said = (folder / "stderr").read_text(errors="replace").strip().splitlines()
        raise DownloadError(shorten(said[-1], 200) if said else f"the download process ended with {code}")

    def _messages(self, output: int, progress: Echo) -> Iterator[dict[str, Any]]:
        """Each JSON line that the process writes; raises DownloadError if it stays silent while it connects.

        Its own limits do not bound the look-up of a host's name, hence the one here.
        """
        start = said = echoed = time.monotonic()
        limit, received, pending = START_LIMIT_S, 0, b""
        while True:
            ready, _, _ = select.select([output], [], [], 0.2)
            now = time.monotonic()
            if now - echoed >= self.echo_every_s:
                echoed = now
                progress(f"{now - start:.0f} s, {received / 1e6:.1f} MB")
            if not ready:
                if now - said > limit:
                    raise DownloadError(f"no answer within {limit:g} s")
                continue
            said = now
            read = os.read(output, 65536)
            if not read:
                return
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                message = json.loads(line)
                received = message.get("bytes", received)
                if "stage" in message:
                    limit = 2 * self.timeout_s if message["stage"] == "connect" else float("inf")
                yield message


def _sha256(path: Path) -> str:
    content = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            content.update(block)
    return content.hexdigest()
