"""A Ray cluster, for as long as a block lasts; nothing of the process around it stays changed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from owdfa.errors import UserError

_RAY = "RAY_"
_USAGE = "RAY_USAGE_STATS_ENABLED"


@contextmanager
def connect(address: str) -> Iterator[Any]:
    """Join a Ray cluster, or start one on this machine, and leave it at the end; yields ``ray``.

    Ray's usage statistics are off. A process that has joined a cluster already uses that one, and
    stays in it.

    Args:
        address: Of the cluster; ``"auto"`` for one of this machine's cores, which ends with the
            block, or for the one that ``RAY_ADDRESS`` names.

    Raises:
        UserError: Ray is not installed, or there is no cluster at ``address``.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    where = None if address == "auto" else address
    with _own_environment():
        try:
            ray.init(
                where,
                log_to_driver=False,
                include_dashboard=None if where else False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"--ray {address}: no cluster answers there ({reason}); start one with ray start"
                " --head, and where it asks for a token set RAY_AUTH_MODE=token"
            ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def import_ray() -> Any:
    """Ray.

    Raises:
        UserError: It is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError(
            "--ray: needs ray, which is not installed; pip install 'owdfa[ray]'"
        ) from None
    return ray


@contextmanager
def _own_environment() -> Iterator[None]:
    """For Ray's processes, which inherit it; the variables that Ray sets here are taken back."""
    before = {name: value for name, value in os.environ.items() if name.startswith(_RAY)}
    os.environ[_USAGE] = "0"
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith(_RAY)]:
            del os.environ[name]
        os.environ.update(before)
