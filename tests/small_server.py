"""A calibrated run that takes a second to train, and a server of it: in a thread, or alone."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvicorn
from PIL import Image

from owdfa.runs.settings import load_settings
from owdfa.serve.place import Place
from owdfa.serve.server import configuration
from owdfa.serve.settings import ServeSettings
from owdfa.stages.train import train
from tiny_data import DRIFT, SIDE, make_data

BOUNDARY = "a-boundary-of-a-test"
SECONDS = 60.0


def make_run(folder):
    """A run with thresholds, and its graph, so that a worker starts without torch."""
    data = make_data(folder / "data", per_class=60)
    overrides = [*DRIFT, "epochs=1", "classes=4", "onnx=true"]
    return train(data.split, folder / "run", settings=load_settings(None, None, overrides)).folder


def picture(number, *, side=SIDE, kind="PNG"):
    """An image file that differs from all others: its bytes."""
    from io import BytesIO

    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """Asks a server.

    Args:
        port: Where it listens.
        host: What a request says that it is addressed to; None for the address.
    """

    def __init__(self, port, host=None):
        self.port, self.host = port, host or f"127.0.0.1:{port}"

    def ask(self, method, path, body=None, headers=None, *, seconds=SECONDS):
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=seconds)) as link:
            link.request(method, path, body, {"Host": self.host, **(headers or {})})
            answer = link.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, told, answer.read())

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def post(self, path, value):
        return self.ask("POST", path, json.dumps(value), {"Content-Type": "application/json"})

    def send(self, files, query="wait=60", **headers):
        """Send files, by their names, as a form."""
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.ask(
            "POST", f"/v1/attribute?{query}", form(files), {"Content-Type": kind, **headers}
        )

    def wait(self, job):
        """A job once it has ended."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            found = self.get(f"/v1/jobs/{job}").json
            if found["state"] in ("done", "failed"):
                return found
            time.sleep(0.05)
        raise AssertionError(found)


def form(files):
    """A body of ``multipart/form-data``: pairs of name and content, or a mapping."""
    parts = []
    for name, content in dict(files).items():
        text = name.encode() if isinstance(name, str) else name
        head = b'Content-Disposition: form-data; name="files"; filename="' + text + b'"'
        parts.append(b"--" + BOUNDARY.encode() + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n")
    return b"".join(parts) + b"--" + BOUNDARY.encode() + b"--\r\n"


@contextlib.contextmanager
def served(case, run=None, **settings):
    """A server in a thread of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        chosen = ServeSettings(port=port, **{"workers": 1, **settings})
        server = uvicorn.Server(configuration(Place(Path(case), run), chosen))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            client = Client(port)
            client.server = server
            yield client
        finally:
            server.should_exit = True
            thread.join()


KILLS_ITSELF = """
import os, signal, sys

def watch(name, arguments, left=[KILL_AT, False]):
    text = repr(arguments[:2])
    left[1] = left[1] or "/uploads/" in text
    if left[1] and "CASE" in text:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
"""


class Process:
    """A server in a process of its own.

    Args:
        case: The case.
        run: The run.
        kill_at: It kills itself before this operation on a file or folder of the case, counted
            from the first file that is sent; None for never.
        settings: Others than by default.
    """

    def __init__(self, case, run, kill_at=None, **settings):
        hook = KILLS_ITSELF.replace("KILL_AT", str(kill_at)).replace("CASE", str(case))
        text = (hook if kill_at is not None else "") + (
            "import sys, json\n"
            "from pathlib import Path\n"
            "from owdfa.serve.place import Place\n"
            "from owdfa.serve.server import run\n"
            "from owdfa.serve.settings import ServeSettings\n"
            "case, run_folder, settings = json.loads(sys.argv[1])\n"
            "place = Place(Path(case), Path(run_folder))\n"
            "run(place, ServeSettings(**settings), lambda text: print(text, flush=True))\n"
        )
        given = json.dumps([str(case), str(run), {"port": 0, "workers": 1, **settings}])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", text, given], stdout=subprocess.PIPE, text=True, env=environment
        )
        line = self._process.stdout.readline()
        self.client = Client(int(line.split("://127.0.0.1:")[1].split("/")[0]))
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.client.get("/healthz").status == 200:
                    break
            time.sleep(0.02)

    def workers(self):
        """Process ids of its workers."""
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def peak(self):
        """The most bytes of memory that it held, its workers not counted."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._end()

    def stop(self):
        self._process.send_signal(signal.SIGINT)
        self._end()

    def _end(self):
        self._process.wait(SECONDS)
        self._process.stdout.close()
