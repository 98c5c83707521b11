"""Predicting as a plain author writes it: one image after the other, then a batch of them.

Each file is opened, its face cut out where the run uses one, resized, turned into a tensor and
normalised by torchvision; batches go through the network in evaluation mode, without gradients, in
the default order of memory; every number is fetched by itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from benchmarks.baseline.frequency import PlainEnhancement
from benchmarks.baseline.reading import MEAN, STD, read_face

_TOP = 5


class Row(NamedTuple):
    """What is said of an image."""

    path: str
    index: int
    confidence: float
    top_index: list[int]
    top_probability: list[float]
    embedding: list[float]


class PlainBackbone(nn.Module):
    """Weighs the maps of a network by frequencies."""

    def __init__(self, backbone: nn.Module, enhancement: PlainEnhancement) -> None:
        super().__init__()
        self.backbone = backbone
        self.enhancement = enhancement

    def forward(self, images: Tensor) -> Tensor:
        """Turn images into a map."""
        maps: Tensor = self.enhancement(images, self.backbone(images))
        return maps


def plain_cal(method: Any) -> Any:
    """A trained CAL with the DCT through an FFT; the other layers and all weights are its own."""
    if getattr(method, "ffe", None) is not None:
        enhancement = PlainEnhancement(method.ffe.cells)
        enhancement.load_state_dict(method.ffe.state_dict())
        method.backbone, method.ffe = PlainBackbone(method.backbone, enhancement), None
    return method.eval()


def predict(
    paths: Sequence[Path], method: Any, *, size: int, detector: Any = None, batch_size: int = 32
) -> list[Row]:
    """Predict files.

    Args:
        paths: The files.
        method: Gives logits and embedding of normalised images.
        size: Side of what it is shown, and of the crops.
        detector: dlib's, or None for the whole image.
        batch_size: Images a batch.
    """
    transform = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    rows = []
    for first in range(0, len(paths), batch_size):
        some = paths[first : first + batch_size]
        images = torch.stack([transform(_open(path, detector)) for path in some])
        with torch.no_grad():
            outputs = method(images)
            probabilities = torch.softmax(outputs.logits, dim=1)
        for path, row, embedding in zip(some, probabilities, outputs.embedding, strict=True):
            top = row.topk(_TOP)
            best = top.indices[0].item()
            rows.append(
                Row(
                    str(path),
                    int(best),
                    row[best].item(),
                    top.indices.tolist(),
                    top.values.tolist(),
                    embedding.tolist(),
                )
            )
    return rows


def _open(path: Path, detector: Any) -> Image.Image:
    return Image.open(path).convert("RGB") if detector is None else read_face(path, detector)
