"""A few files of each data set."""

from collections.abc import Callable
from pathlib import Path

from owdfa.datasets import lab


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def sample_folder(root: Path) -> str:
    touch(root, "a/1.png", "a/deep/er/2.png", "b/1.png", "_unlabelled/x.png", "y.JPG")
    return str(root)


def sample_csv(root: Path) -> str:
    touch(root, "1.png", "sub/2.png")
    (root / "list.csv").write_text("path,class,group\n1.png,a,g\nsub/2.png,,\n")
    return str(root / "list.csv")


def sample_owdfa40(root: Path) -> str:
    touch(root, "0_Real_FF++/1.png", "0_Real_CelebDF/1.png", "4_Swap_FaceShifter/v_1.png")
    return str(root)


def sample_lab(root: Path) -> str:
    settings = lab.LabSettings(size=32, methods_per_family=1, images_per_method=1, real_images=1)
    lab.draw(root, settings)
    return str(root)


SAMPLES: dict[str, Callable[[Path], str]] = {
    "folder": sample_folder,
    "csv": sample_csv,
    "owdfa40": sample_owdfa40,
    "lab": sample_lab,
}
