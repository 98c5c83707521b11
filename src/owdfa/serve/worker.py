"""A process that decodes and computes: ``python -m owdfa.serve.worker``, started by ``pool.py``.

It reads requests from its standard input and answers each on its standard output, a line of JSON
a time. The first line says what to open. It ends with its input, and with the process that started
it.
"""

import base64
import ctypes
import gc
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from owdfa.errors import UserError

_MIB = 2**20
_OPEN_FILES, _FILE_BYTES = 256, 256 * _MIB
_KEPT = 192 * _MIB  # that a worker holds beside the network, for what comes next
_STATM = Path("/proc/self/statm")
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def main() -> None:
    """Answer requests until there are no more."""
    answers = _own_stdout()
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    given = json.loads(sys.stdin.buffer.readline())
    if os.getppid() != parent:  # it ended before this process could ask to be told
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    worker = Worker(given["run"], given["cores"])
    _answer(answers, worker.hello())
    gc.freeze()
    limit(given["memory"])
    least = _resident()
    for line in sys.stdin.buffer:
        _answer(answers, worker.answer(json.loads(line)))
        if _resident() > least + _KEPT:
            _give_back()


class Worker:
    """Gives verdicts and draws pictures.

    Args:
        run: What gives verdicts; None to draw alone.
        cores: Of the machine, of which this takes one.
    """

    def __init__(self, run: str | None, cores: int) -> None:
        self.problem: str | None = None
        self._attributor = None
        self._kept: dict[str, Any] = {}
        if run is None:
            return
        from owdfa.attribution.attributor import AttributeOptions, Attributor

        try:
            # As many callers as cores: each then computes in one thread.
            opened = Attributor.open(run, AttributeOptions(jobs=cores))
            self._attributor = replace(opened, jobs=1, keep=self._kept.__setitem__)
        except UserError as error:
            self.problem = str(error)

    def hello(self) -> dict[str, Any]:
        """What was opened, or why it was not."""
        if self._attributor is None:
            return {"problem": self.problem}
        from owdfa.inference.embeddings import embedding_digest

        return {
            "problem": None,
            "attribution": self._attributor.attribution.model_dump_json(by_alias=True),
            "embedding": embedding_digest(self._attributor.predictor),
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked for; an ``error`` says why it could not be done."""
        try:
            match request["do"]:
                case "attribute":
                    return self._attribute(request["files"])
                case "draw":
                    return self._draw(request["picture"])
                case "card":
                    return {"card": self._card()}
        except MemoryError:
            return {"error": "memory"}  # pool.MEMORY
        except UserError as error:
            return {"error": str(error)}
        raise ValueError(request["do"])

    def _attribute(self, files: list[tuple[str, str]]) -> dict[str, Any]:
        """Verdicts of files, by name and path, and the embeddings of their faces."""
        from owdfa.attribution.video import attribute_files
        from owdfa.inference.lists import ImageFile

        assert self._attributor is not None
        self._kept.clear()
        named = [ImageFile(name, path) for name, path in files]
        made = attribute_files(self._attributor, named)
        verdicts = [verdict.model_dump_json(by_alias=True) for _, verdict in made]
        rows = {
            sha256: base64.b64encode(row.astype("<f4").tobytes()).decode()
            for sha256, row in self._kept.items()
        }
        return {"verdicts": verdicts, "embeddings": rows}

    def _draw(self, picture: dict[str, Any]) -> dict[str, Any]:
        from owdfa.serve.drawing import Wanted, draw

        return {"drawn": draw(Wanted.model_validate(picture))}

    def _card(self) -> dict[str, Any] | None:
        """The model card of the run."""
        if self._attributor is None:
            return None
        from owdfa.stages.evidence.card import make_card
        from owdfa.stages.evidence.nearest import TrainingImages

        predictor = self._attributor.predictor
        try:
            images: TrainingImages | None = TrainingImages(predictor)
        except UserError:
            images = None
        card = make_card(predictor, self._attributor.attribution, images, None)
        return card.model_dump(mode="json")


def limit(memory: int) -> None:
    """Bound what this process may take from here on.

    ``RLIMIT_DATA`` counts memory that is written to, and no libraries that are mapped: what the
    network took is added to it.
    """
    for what, most in (
        (resource.RLIMIT_DATA, _data_bytes() + memory),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _data_bytes() -> int:
    """What ``RLIMIT_DATA`` counts of this process so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not on every system
        return 0
    found = [line.split()[1] for line in lines if line.startswith("VmData:")]
    return 1024 * int(found[0]) if found else 0


def _resident() -> int:
    """Bytes of memory that this process holds."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:  # not on every system
        return 0


def _give_back() -> None:
    """Give memory that is free back to the system: after a large image, most of it."""
    with suppress(AttributeError):  # of another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def _own_stdout() -> BinaryIO:
    """The standard output, for answers alone: what a library prints goes to standard error."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _answer(answers: BinaryIO, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value).encode() + b"\n")
    answers.flush()


def _prctl(option: int, value: int) -> None:
    """Set something of this process, on Linux; elsewhere the end of its input ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
