"""The plain reading that ours is measured against shows the same images."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.baseline import reading
from owdfa.backbones.base import Backbone
from owdfa.images.boxes import Box
from owdfa.images.faces import crop_face
from owdfa.loading.views import TrainingViews, ViewSettings

SIZE = 48
CROP = round(SIZE * 292 / 256)  # of the crops that are kept, and of the strong view


class Face:
    """A rectangle as dlib returns it: right and bottom are the last pixels."""

    def __init__(self, box):
        self.left, self.top = (lambda value=value: value for value in box[:2])
        self.right, self.bottom = (lambda value=value: value - 1 for value in box[2:4])


def picture(width=100, height=80, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    "boxes", [[], [(20, 10, 61, 50)], [(0, 30, 40, 80), (1, 1, 9, 9)], [(-9, -9, 140, 99)]]
)
def test_the_face_is_cut_out_as_ours(tmp_path, boxes):
    picture().save(tmp_path / "a.png")
    theirs = reading.read_face(tmp_path / "a.png", lambda rgb: [Face(box) for box in boxes])
    ours = crop_face(picture(), Box(*boxes[0], 1.0) if boxes else None)
    assert np.array_equal(np.asarray(theirs), np.asarray(ours))


@pytest.mark.parametrize("flip", [0, 1])
def test_views_are_ours_where_chance_has_no_say(flip):
    crops = [picture(CROP, CROP, seed) for seed in range(4)]
    settings = ViewSettings(size=SIZE, flip=flip, crop=0, jitter=0)
    views = TrainingViews(("weak", "strong"), settings, seed=0)
    ours = views(np.stack([np.asarray(crop) for crop in crops]), 0, 0)
    plain = (
        reading.weak_view(SIZE, flip=flip),
        reading.strong_view(SIZE, flip=flip, crop=0, jitter=0),
    )
    backbone = Backbone("none", nn.Identity(), reading.MEAN, reading.STD)
    level = 1 / 255 / torch.tensor(reading.STD).view(3, 1, 1)
    for view, made in zip(plain, ours, strict=True):
        theirs = torch.stack([view(crop) for crop in crops])
        levels = (theirs - backbone.normalise(made)).abs() / level
        # torch and Pillow round their resizing weights differently.
        assert levels.max() <= 2.001
        assert levels.mean() < 0.15


def test_shares_of_crops_and_jitter_are_those_of_the_paper():
    torch.manual_seed(0)
    crop = picture(CROP, CROP)
    plain = {view(crop).sum().item() for view in [reading.weak_view(SIZE, flip=0)]}
    strong = reading.strong_view(SIZE, flip=0)
    altered = [strong(crop).sum().item() not in plain for _ in range(400)]
    assert abs(np.mean(altered) - 0.36) < 0.1  # 1 - 0.8 * 0.8, four deviations


def test_batches_hold_both_views_of_every_file(tmp_path):
    paths = []
    for i in range(5):
        paths.append(tmp_path / f"{i}.jpg")
        picture(90, 90, i).save(paths[-1], quality=90)
    found = list(reading.batches(paths, 32, reading.frontal_faces(), batch_size=2, workers=0))
    assert [tuple(weak.shape) for weak, _ in found] == [(2, 3, 32, 32)] * 2 + [(1, 3, 32, 32)]
    assert all(weak.shape == strong.shape for weak, strong in found)
