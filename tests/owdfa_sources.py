"""Miniature copies of the data sets that OW-DFA is made of, in the layouts of their publishers."""

from pathlib import Path

import numpy as np
from PIL import Image

FORGERYNET = (1, 2, 3, 7, 8, 10, 11, 12, 13, 14)  # of 16 classes, those that OW-DFA takes


class Painter:
    """Writes small images, no two alike."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def __call__(self, *paths: Path) -> None:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = self.generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)


def make_ffpp(root: Path, paint: Painter) -> None:
    for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"):
        for video in range(5):
            folder = (
                root / f"manipulated_sequences/{method}/c23/images_v3/{video:03d}_{video + 1:03d}"
            )
            paint(*(folder / f"{frame}.png" for frame in (0, 9, 10)))
    for video in range(5):
        folder = root / f"original_sequences/youtube/c23/images_v3/{video:03d}"
        paint(*(folder / f"{frame}.png" for frame in range(3)))


def make_celebdf(root: Path, paint: Painter) -> None:
    for video in range(5):
        paint(*(root / f"images_v1/Celeb-real/id{video}_0000/{frame}.png" for frame in range(2)))
    paint(root / "images_v1/YouTube-real/00001/0.png")


def make_forgerynet(root: Path, paint: Painter) -> None:
    lines = []
    for label in range(16):
        names = [f"train_release/{label}/{video}/frame{video:05d}.jpg" for video in range(8)]
        lines += [f"{name} {int(label > 0)} 2 {label}" for name in names]
        if label in FORGERYNET:
            paint(*(root / "Training/images" / name for name in names))
    (root / "Training/image_list.txt").write_text("\n".join(lines) + "\n")


def make_dffd(root: Path, paint: Painter) -> None:
    for folder, code in (
        ("faceapp", "FAP0"),
        ("pggan_v2", "PGN2"),
        ("stylegan_ffhq", "SyFQ"),
        ("stargan", "STGN"),
    ):
        for part, start in (("train", 0), ("validation", 6), ("train_masks", 0)):
            paint(*(root / folder / part / f"F_{code}_{start + i}-1.png" for i in range(6)))
    paint(root / "faceapp/train/F_FAP0_0-2.png", root / "ffhq/train/R_FFHQ_1.png")


def make_forgerynir(root: Path, paint: Painter) -> None:
    names = [
        f"ForgeryNIR-mix/{folder}/{number}.png"
        for folder in ("0_real", "cyclegan", "progan", "stylegan", "stylegan2")
        for number in range(8)
    ]
    paint(*(root / name for name in names))
    (root / "lists").mkdir()
    (root / "lists/ForgeryNIR-mix_multi.txt").write_text("\n".join(names[8:]) + "\n")


def make_df3(root: Path, paint: Painter) -> None:
    for folder in ("Midjourney", "StableDiffusion"):
        paint(*(root / folder / "1_fake" / f"{number}.png" for number in range(8)))
        paint(root / folder / "0_real/0.png")


MAKERS = {
    "ffpp": make_ffpp,
    "celebdf": make_celebdf,
    "forgerynet": make_forgerynet,
    "dffd": make_dffd,
    "forgerynir": make_forgerynir,
    "df3": make_df3,
}


def make_sources(folder: Path) -> dict[str, Path]:
    """All six, by the option that names each."""
    paint = Painter()
    for option, make in MAKERS.items():
        make(folder / option, paint)
    return {option: folder / option for option in MAKERS}
