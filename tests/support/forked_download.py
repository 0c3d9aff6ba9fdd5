"""The download program without its start: a process that has imported openml forks one for each download.

Importing openml takes two seconds, the downloads of tests a tenth. ``python -S forked_download.py SOCKET REQUEST``
stands in for ``python -m entrypoints.datasets.openml_download REQUEST``: its output and its end are the fork's, and
with it the fork ends.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SERVER = "import sys; sys.path[:0] = sys.argv[2:]; import forked_download; forked_download.serve(sys.argv[1])"


@contextmanager
def forked_downloads(folder: Path) -> Iterator[tuple[str, ...]]:
    """Run the process that forks; a program for ``OpenML``."""
    import subprocess

    here, address = Path(__file__), str(folder / "socket")
    line = [sys.executable, "-c", SERVER, address, str(here.parent), str(here.parents[2])]
    with subprocess.Popen(line, env={**os.environ, "OPENML_CACHE_DIR": str(folder)}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield (sys.executable, "-S", str(here), address)
        process.kill()


def serve(address: str) -> None:
    """Fork a download for each connection."""
    import openml  # noqa: F401

    from entrypoints.datasets import openml_download

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                _download(connection, openml_download.main)
            connection.close()


def _download(connection: socket.socket, main: object) -> None:
    request, outputs, *_ = socket.recv_fds(connection, 65536, 2)
    for number, output in enumerate(outputs, 1):
        os.dup2(output, number)
        os.close(output)
    threading.Thread(target=lambda: connection.recv(1) or os._exit(1), daemon=True).start()
    sys.argv[1:] = [request.decode()]
    with suppress(BaseException):
        main()  # type: ignore[operator]
        connection.send(b"\0")
    os._exit(0)


if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        socket.send_fds(connection, [sys.argv[2].encode()], [1, 2])
        sys.exit(0 if connection.recv(1) else 1)
