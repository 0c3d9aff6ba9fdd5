"""Files like those of /proc and /sys, as a test says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def lay(root: Path, files: dict[str, str]) -> None:
    """Write files below a folder that stands for /."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


@contextmanager
def refused(*names: str) -> Iterator[Callable[[dict[str, str]], Path]]:
    """Yield what lays files below a new folder; those with these names or paths may not be read, not even by root."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)  # pytest's own folders let nobody else in

        superuser = os.geteuid() == 0

        def laid(files: dict[str, str]) -> Path:
            lay(root, files)
            for path in files:
                if {path, Path(path).name} & set(names):
                    (root / path).chmod(0)
            if superuser:
                os.seteuid(65534)
            return root

        try:
            yield laid
        finally:
            if superuser:
                os.seteuid(0)
