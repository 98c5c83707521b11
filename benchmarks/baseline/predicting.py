"""Predicting as a plain author writes it: one image after the other, then a batch of them.

Each file is opened, its face cut out where the run uses one, resized, turned into a tensor and
normalised by torchvision; batches go through the network in evaluation mode, without gradients, in
the default memory format; every number is fetched by itself.

    python -m benchmarks.baseline.predicting RUN FOLDER
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torchvision import transforms

from benchmarks.baseline.network import PlainNetwork, like
from benchmarks.baseline.reading import MEAN, STD, frontal_faces, read_face
from owdfa.runs.run import Run

_TOP = 5


class Row(NamedTuple):
    """What is said of an image."""

    path: str
    index: int
    confidence: float
    top_index: list[int]
    top_probability: list[float]
    embedding: list[float]


def predict(
    paths: Sequence[Path],
    network: PlainNetwork,
    *,
    size: int,
    detector: Any = None,
    batch_size: int = 32,
) -> list[Row]:
    """Predict files.

    Args:
        paths: The files.
        network: Gives logits and embedding of normalised images; in evaluation mode.
        size: Side of what it is shown, and of the crops.
        detector: dlib's, or None for the whole image.
        batch_size: Images a batch.
    """
    steps = [transforms.Resize((size, size)), transforms.ToTensor()]
    transform = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])
    rows = []
    for first in range(0, len(paths), batch_size):
        some = paths[first : first + batch_size]
        images = torch.stack([transform(read_face(path, detector)) for path in some])
        with torch.no_grad():
            logits, embeddings = network(images)
            probabilities = torch.softmax(logits, dim=1)
        for path, row, embedding in zip(some, probabilities, embeddings, strict=True):
            top = row.topk(_TOP)
            best = int(top.indices[0].item())
            found = (row[best].item(), top.indices.tolist(), top.values.tolist())
            rows.append(Row(str(path), best, *found, embedding.tolist()))
    return rows


def plain_network(folder: Path) -> PlainNetwork:
    """The plain network with the weights of a run of CAL, to predict with."""
    return like(Run.open(folder).method()).eval()  # type: ignore[arg-type]


def main() -> None:
    run, folder = map(Path, sys.argv[1:])
    metadata = Run.open(run).metadata
    detector = frontal_faces() if metadata.faces == "dlib" else None
    files = sorted(folder.iterdir())
    for row in predict(files, plain_network(run), size=metadata.image_size, detector=detector):
        print(row.path, row.index, row.confidence)


if __name__ == "__main__":
    main()
