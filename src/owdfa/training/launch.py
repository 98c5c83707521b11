"""Several processes on this machine: the command line again, under torch's own launcher."""

import os
import sys
from collections.abc import Sequence
from uuid import uuid4

from owdfa.errors import UserError
from owdfa.runs.lock import lock_environment


def run_processes(arguments: Sequence[str], num: int) -> None:
    """Run ``owdfa <arguments>`` in ``num`` processes, and wait; torch ends all when one fails.

    Raises:
        UserError: One of them failed. What the user can fix was said by the process itself.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=uuid4().hex,
        max_restarts=0,
        monitor_interval=0.2,
    )
    before = dict(os.environ)
    os.environ.update(lock_environment())  # torch hands this process's environment on
    try:
        elastic_launch(config, sys.executable)("-m", "owdfa", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = (
            f"was killed by signal {-failure.exitcode}"
            if failure.exitcode < 0
            else f"ended with status {failure.exitcode}, see above"
        )
        raise UserError(
            f"process {rank + 1} of {num} {how}; run the same command with --resume to continue"
        ) from None
    finally:
        os.environ.clear()
        os.environ.update(before)
