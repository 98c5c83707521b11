"""The command line in this process, and photographs to hand to it."""

import contextlib
import io
import sys
from typing import NamedTuple

import numpy as np
from PIL import Image

from owdfa.cli.main import main


class Ended(NamedTuple):
    status: int
    stdout: str
    stderr: str


def cli(*args):
    """Run ``owdfa ARGS`` in this process."""
    stdout, stderr, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv, status = ["owdfa", *map(str, args)], 0
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            main()
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = argv
    return Ended(status, stdout.getvalue(), stderr.getvalue())


def refused(*args):
    """The one line with which ``owdfa ARGS`` is refused; progress may come before it."""
    ended = cli(*args)
    *progress, line = ended.stderr.splitlines()
    assert ended.status == 2
    assert line.startswith("owdfa: ")
    assert not [text for text in progress if "owdfa: " in text or "Traceback" in text]
    return line


def done(*args):
    ended = cli(*args)
    assert ended.status == 0, ended.stderr
    return ended.stdout


def make_photos(folder):
    """Write two classes of twenty images."""
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
    return folder / "photos"


def make_noise(folder, classes=("a", "b", "c"), count=12, seed=0):
    """Write a folder of classes, each of some images of noise that nothing tells apart."""
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder
