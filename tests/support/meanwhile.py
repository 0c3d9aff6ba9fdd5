"""Something that happens while a test waits for something else."""

import threading
from contextlib import contextmanager

LIMIT_S = 60.0


@contextmanager
def meanwhile(action):
    """Do this in a thread while the block runs, and wait for both."""
    thread = threading.Thread(target=action)
    thread.start()
    yield
    thread.join(LIMIT_S)
