"""A server of our own that misbehaves in every way."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from owdfa.download import fetch as module


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``, and cuts, lies or fails as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []  # what each GET asked for
        self.cut_after: int | None = None  # bytes of each answer, then the connection is closed
        self.knows_ranges = True
        self.failures: list[int] = []  # statuses of the next answers

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self.answer(with_content=False)

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        self.answer(with_content=True)

    def answer(self, *, with_content: bool) -> None:
        content = self.server.files.get(self.path)
        if content is None or (with_content and self.server.failures):
            self.send_error(404 if content is None else self.server.failures.pop(0))
            return
        start = 0
        asked = self.headers.get("Range")
        if asked and self.server.knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if with_content:
            end = None if self.server.cut_after is None else start + self.server.cut_after
            self.wfile.write(content[start:end])


def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.delenv(module.MIRROR, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
