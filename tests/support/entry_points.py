"""The entry points of MLproject: what each takes, and its click command."""

from __future__ import annotations

import importlib

import click
import yaml
from commands import ROOT

ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]


def entry_command(entry: str) -> click.Command:
    """The click command of an entry point."""
    found = getattr(importlib.import_module(f"entrypoints.{entry}"), entry)
    assert isinstance(found, click.Command)
    return found
