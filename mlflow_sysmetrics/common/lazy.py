"""Names of a package that are imported at their first use: what needs MLflow or Ray, for those who do not need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, names_by_module: Mapping[str, str], modules: str = "") -> Callable[[str], Any]:
    """A `__getattr__` for a package (PEP 562): these names of its modules, and these modules, imported at first use."""
    home = {name: module for module, names in names_by_module.items() for name in names.split()}

    def find(name: str) -> Any:
        if name in modules.split():
            return import_module(f"{package}.{name}")
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return find
