"""What each of Ray's processes imports when it starts: the module that an environment variable names, if it does."""

import importlib
import os

NAME = "SYSMETRICS_PRELOADED"

if module := os.environ.get(NAME):
    importlib.import_module(module)
