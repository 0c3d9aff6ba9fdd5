"""Work for tests of what work costs."""

import time


def use_cpu(seconds):
    """Use so much of a processor, however busy the machine is."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
