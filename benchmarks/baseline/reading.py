"""Reading as the releases do it: decode, find the face, crop and augment, at every read.

One image at a time, with torchvision's transforms on a Pillow image; batches by torch's loader and
its own way of stacking.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ENLARGE = 1.2


def read_face(path: Path | str, detector: Any) -> Image.Image:
    """Open an image and cut out the detector's first face, or keep all of it.

    Args:
        path: The file.
        detector: dlib's, or anything that is called and returns rectangles as dlib does; None to
            take the whole image.
    """
    image = Image.open(path).convert("RGB")
    faces = () if detector is None else detector(np.array(image))
    if not len(faces):
        return image
    face = faces[0]
    left, right = enlarged(face.left(), face.right() + 1, image.width)
    top, bottom = enlarged(face.top(), face.bottom() + 1, image.height)
    return image.crop((left, top, right, bottom))


def enlarged(low: int, high: int, limit: int) -> tuple[int, int]:
    """Enlarge an interval about its centre; it stays within the image."""
    centre, half = (low + high) / 2, ENLARGE * (high - low) / 2
    return max(round(centre - half), 0), min(round(centre + half), limit)


class CropOrResize(nn.Module):
    """A random resized crop with probability ``share``, else a resize, to ``size``."""

    def __init__(self, size: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.crop = transforms.RandomResizedCrop((size, size), scale=(0.5, 1.0))
        self.resize = transforms.Resize((size, size))

    def forward(self, image: Image.Image) -> Image.Image:
        """Draw which of the two it is, and do it."""
        return self.crop(image) if torch.rand(1) < self.share else self.resize(image)


def weak_view(size: int = 256, flip: float = 0.5) -> transforms.Compose:
    """CAL's weak view, from a Pillow image to a normalised tensor (3, size, size)."""
    return transforms.Compose(
        [transforms.RandomHorizontalFlip(flip), transforms.Resize((size, size)), *_to_tensor()]
    )


def strong_view(
    size: int = 256, flip: float = 0.5, crop: float = 0.2, jitter: float = 0.2
) -> transforms.Compose:
    """CAL's strong view, likewise."""
    colours = transforms.ColorJitter(brightness=0.4, contrast=0.4)
    return transforms.Compose(
        [
            transforms.RandomHorizontalFlip(flip),
            CropOrResize(round(size * 292 / 256), crop),
            transforms.RandomApply([colours], jitter),
            transforms.Resize((size, size)),
            *_to_tensor(),
        ]
    )


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Both views of image files, of their faces where there is a detector."""

    def __init__(self, paths: Sequence[Path], size: int, detector: Any) -> None:
        self.paths = paths
        self.weak, self.strong = weak_view(size), strong_view(size)
        self.detector = detector

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        image = read_face(self.paths[place], self.detector)
        return self.weak(image), self.strong(image)


def frontal_faces() -> Any:
    """The detector of the releases."""
    import dlib

    return dlib.get_frontal_face_detector()


def batches(
    paths: Sequence[Path], size: int, detector: Any, *, batch_size: int, workers: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Go through files in a random order."""
    return DataLoader(
        Images(paths, size, detector),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def _to_tensor() -> list[nn.Module]:
    return [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
