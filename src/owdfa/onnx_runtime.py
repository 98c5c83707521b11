"""ONNX Runtime, imported so that it reports to nobody."""

import os
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_IMPORTING = Lock()


@cache
def import_onnxruntime() -> Any:
    """Import ONNX Runtime, which from 1.29 on reports to its maker unless told not to.

    It reads the environment as it is imported; afterwards that is as it was.
    """
    with _IMPORTING:
        before = os.environ.get(_NO_TELEMETRY)
        os.environ[_NO_TELEMETRY] = "1"
        try:
            return import_module("onnxruntime")
        finally:
            if before is None:
                del os.environ[_NO_TELEMETRY]
            else:
                os.environ[_NO_TELEMETRY] = before
