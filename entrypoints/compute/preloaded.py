"""Each of Ray's processes imports this module when it starts; it imports the module that a variable names, if set."""

import importlib
import os

NAME = "SYSMETRICS_PRELOADED"

if module := os.environ.get(NAME):
    importlib.import_module(module)
