"""A Ray cluster, for as long as a block lasts; nothing of the process around it stays changed."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from owdfa.errors import UserError

_USAGE = "RAY_USAGE_STATS_ENABLED"
_TIMEOUT = 10  # seconds until an address answers


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
    if where is not None:
        _check_address(where)
    with _environment_kept():
        os.environ[_USAGE] = "0"
        try:
            ray.init(
                where,
                log_to_driver=False,
                include_dashboard=None if where else False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(address, str(error).splitlines()[0]) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse an address where nothing listens: Ray would try for minutes.

    Raises:
        UserError: There is nothing.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--ray {address}: is no address; give host:port, or auto for this machine")
    try:
        socket.create_connection((host, int(port)), _TIMEOUT).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from None


def _no_cluster(address: str, reason: str) -> UserError:
    return UserError(
        f"--ray {address}: no cluster answers there ({reason}); start one with ray start --head,"
        " and where it asks for a token set RAY_AUTH_MODE=token"
    )


def import_ray() -> Any:
    """Ray.

    Raises:
        UserError: It is not installed.
    """
    try:
        with _environment_kept():
            import ray
    except ModuleNotFoundError:
        raise UserError(
            "--ray: needs ray, which is not installed; pip install 'owdfa[ray]'"
        ) from None
    return ray


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Take back what Ray changes in the environment, which its processes have inherited by then."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
