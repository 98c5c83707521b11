"""What a user might have outside the package, to be named with a dot."""

import os
import signal

KILLED = "OWDFA_TEST_KILLED"  # "1 2": the second process kills itself in the third epoch


def kill_if_asked(progress):
    """Kill this process in an epoch, where a test asks for that by the environment."""
    if os.environ.get(KILLED) == f"{os.environ.get('RANK')} {progress.epoch}":
        os.kill(os.getpid(), signal.SIGKILL)
