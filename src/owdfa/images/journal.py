"""A store in the making: it survives a kill at any moment, and loses one chunk of work at most.

``pixels.bin`` has its full size from the start, every image at its place. A chunk of images is
written there first and then noted as a line of ``journal.jsonl`` with a checksum of its pixels; on
resumption a chunk counts as done when its line is whole and its pixels agree with the checksum.
"""

import json
import os
import zlib
from pathlib import Path
from typing import NamedTuple, final

import numpy as np

from owdfa.images.boxes import Box

CHUNK = 8  # images: what a kill may cost each process, and the last one the others


class Cropped(NamedTuple):
    """A chunk of images that has been cropped, all fields of the same length."""

    pixels: np.ndarray  # (n, size, size, 3) uint8, black where an image is bad
    phash: list[int]
    face: list[Box | None]
    error: list[str | None]


@final
class Journal:
    """Crops of the images of a manifest, as far as they are done.

    Args:
        folder: Where the store grows.
        num_images: Number of images.
        size: Side of a crop.
    """

    def __init__(self, folder: Path, num_images: int, size: int) -> None:
        self.num_images = num_images
        self.phash = [0] * num_images
        self.face: list[Box | None] = [None] * num_images
        self.error: list[str | None] = ["was not cropped yet"] * num_images
        self._image_bytes = 3 * size**2
        pixels, lines = folder / "pixels.bin", folder / "journal.jsonl"
        pixels.touch()
        lines.touch()
        self._pixels = pixels.open("r+b")
        self._pixels.truncate(num_images * self._image_bytes)
        self._done = {
            chunk for line in lines.read_bytes().splitlines() for chunk in self._redo(line)
        }
        # A torn last line must not swallow the next one.
        self._lines = lines.open("ab")
        self._lines.write(b"\n")

    def close(self) -> None:
        """Close the files."""
        self._pixels.close()
        self._lines.close()

    @property
    def num_done(self) -> int:
        """Number of images that are done."""
        return sum(len(self.rows(chunk)) for chunk in self._done)

    def missing(self) -> list[int]:
        """Numbers of the chunks that are not done."""
        return [i for i in range(-(-self.num_images // CHUNK)) if i not in self._done]

    def rows(self, chunk: int) -> range:
        """Rows of the images of a chunk."""
        return range(chunk * CHUNK, min((chunk + 1) * CHUNK, self.num_images))

    def add(self, chunk: int, cropped: Cropped) -> None:
        """Keep a chunk: first its pixels, then its line."""
        data = cropped.pixels.tobytes()
        self._pixels.seek(chunk * CHUNK * self._image_bytes)
        self._pixels.write(data)
        self._pixels.flush()
        note = {"chunk": chunk, "crc": zlib.crc32(data), **cropped._asdict(), "pixels": None}
        self._lines.write(json.dumps(note).encode() + b"\n")
        self._lines.flush()
        self._keep(chunk, cropped.phash, cropped.face, cropped.error)

    def compact(self) -> None:
        """Close the gaps in ``pixels.bin`` of images that are bad or not done.

        Nothing can be added after.

        A kill in here spoils checksums, so that the chunks concerned are done again.
        """
        good = [row for row in range(self.num_images) if self.error[row] is None]
        for place, row in enumerate(good):
            if place != row:
                self._pixels.seek(row * self._image_bytes)
                data = self._pixels.read(self._image_bytes)
                self._pixels.seek(place * self._image_bytes)
                self._pixels.write(data)
        self._pixels.flush()
        self._pixels.truncate(len(good) * self._image_bytes)
        os.fsync(self._pixels.fileno())

    def _redo(self, line: bytes) -> list[int]:
        """Take over a line of an earlier run: its chunk, when it is sound and without bad images.

        Bad ones are tried again: what was wrong may have been fixed.
        """
        try:
            note = json.loads(line)
        except ValueError:
            return []
        chunk, rows = note["chunk"], self.rows(note["chunk"])
        self._pixels.seek(rows.start * self._image_bytes)
        found = zlib.crc32(self._pixels.read(len(rows) * self._image_bytes))
        if found != note["crc"] or any(note["error"]):
            return []
        faces = [Box(*face) if face else None for face in note["face"]]
        self._keep(chunk, note["phash"], faces, note["error"])
        return [chunk]

    def _keep(
        self, chunk: int, phash: list[int], face: list[Box | None], error: list[str | None]
    ) -> None:
        rows = self.rows(chunk)
        part = slice(rows.start, rows.stop)
        self.phash[part], self.face[part], self.error[part] = phash, face, error
