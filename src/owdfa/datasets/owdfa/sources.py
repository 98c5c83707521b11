"""Find the images of OW-DFA's classes in the source data sets, as these are published.

Each ``Source`` names what it looks for; its ``find`` gives the images by (method, source), at most
as many as ``Amounts`` says, and leaves out what is not there.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from owdfa.datasets.folder import class_folders, files_below
from owdfa.errors import UserError
from owdfa.protocols import natural_sort

Key = tuple[str, str]
"""Method and source of a class."""

_FFPP = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
_FORGERYNET = {  # by the 16-class label
    1: "FaceShifter",
    2: "FSGAN",
    3: "DeepFaceLab",
    7: "Talking-Head-Video",
    8: "ATVG-Net",
    10: "FOMM",
    11: "StyleGAN2",
    12: "MaskGAN",
    13: "StarGAN2",
    14: "SC-FEGAN",
}
_DFFD = {
    "faceapp": "FaceAPP",
    "pggan_v2": "PGGAN",
    "stylegan_ffhq": "StyleGAN",
    "stargan": "StarGAN",
}
_FORGERYNIR = {"cyclegan": "CycleGAN", "stylegan2": "StyleGAN2"}
_EDITED = re.compile(r".*?F_([A-Za-z0-9]+_\d+).*")  # DFFD: the image that was edited


class Amounts(NamedTuple):
    """How many images a class is given, and how they are drawn."""

    scale: int
    """1: as in the paper's table; 5: as in the release's large files."""
    seed: int

    @property
    def images(self) -> int:
        """Of a class that is drawn at random."""
        return 2000 * self.scale


class Found(NamedTuple):
    """An image of a source data set."""

    path: Path
    id: str
    group: str


class Source(NamedTuple):
    """A source data set: the option that names its folder, and what is looked for there."""

    option: str
    name: str
    expected: str
    find: Callable[[Path, Amounts], dict[Key, list[Found]]]
    methods: tuple[str, ...]


def ranked(images: Iterable[Found], *key: object) -> list[Found]:
    """The images in an order that depends on the key and their ids alone."""

    def rank(image: Found) -> bytes:
        return hashlib.sha256(repr((*key, image.id)).encode(errors="backslashreplace")).digest()

    return sorted(images, key=rank)


def evenly(items: list[Path], count: int) -> list[Path]:
    """At most ``count`` items, the first and the last among them, as evenly spaced as can be."""
    places = np.linspace(0, max(len(items) - 1, 0), min(count, len(items)), dtype=int)
    return [items[place] for place in np.unique(places)]


def _ffpp(root: Path, amounts: Amounts) -> dict[Key, list[Found]]:
    found = {}
    for method in (*_FFPP, "Real"):
        real = method == "Real"
        place = "original_sequences/youtube" if real else f"manipulated_sequences/{method}"
        count = (20 if real else 2) * amounts.scale
        images = _frames(root, f"{place}/c23", "FaceForensics++", count)
        # The forgeries of a video, and the video, share what is in front of the camera.
        found[method, "FaceForensics++"] = [
            image._replace(group=image.group.partition("_")[0]) for image in images
        ]
    return found


def _celebdf(root: Path, amounts: Amounts) -> dict[Key, list[Found]]:
    folders = [root / name.name for name in class_folders(root) if name.name.startswith("images")]
    holding = [folder for folder in folders if (folder / "Celeb-real").is_dir()]
    _one_of(holding)
    images: list[Found] = []
    for folder in holding:
        images = _videos(root, folder / "Celeb-real", "CelebDF", 10 * amounts.scale)
    return {("Real", "CelebDF"): images}


def _forgerynet(root: Path, amounts: Amounts) -> dict[Key, list[Found]]:
    listed = {(method, "ForgeryNet"): list[Found]() for method in _FORGERYNET.values()}
    for folder in (root, root / "Training"):
        file = folder / "image_list.txt"
        for number, line in enumerate(_lines(file), 1):
            name, *labels = line.rsplit(maxsplit=3)
            if len(labels) != 3 or not labels[2].isdigit():
                raise UserError(
                    f"{file}, line {number}: {line[:60]!r} is no path with three labels; "
                    "take ForgeryNet's own image_list.txt"
                )
            method = _FORGERYNET.get(int(labels[2]))
            if method:
                image = _found(root, folder / "images" / name, "ForgeryNet")
                listed[method, "ForgeryNet"].append(image)
    return {key: _existing(_with_groups(images), amounts, *key) for key, images in listed.items()}


def _dffd(root: Path, amounts: Amounts) -> dict[Key, list[Found]]:
    found = {}
    for folder, method in _DFFD.items():
        parts = _subfolders(root / folder)
        train = [part for part in parts if "train" in part.name and "mask" not in part.name]
        others = [part for part in parts if "train" not in part.name and "mask" not in part.name]
        images: list[Found] = []
        for group in (train, others):  # training folders first
            below = [image for part in group for image in _below(root, part, "DFFD")]
            images += ranked(map(_edited, below), amounts.seed, method, "DFFD")
        found[method, "DFFD"] = images[: amounts.images]
    return found


def _forgerynir(root: Path, amounts: Amounts) -> dict[Key, list[Found]]:
    listed = {(method, "ForgeryNIR"): list[Found]() for method in _FORGERYNIR.values()}
    for line in _lines(root / "lists" / "ForgeryNIR-mix_multi.txt"):
        name = re.sub(r"\s+\d+$", "", line)  # a label, if there is one
        method = _FORGERYNIR.get(Path(name).parent.name)
        if method:
            listed[method, "ForgeryNIR"].append(_found(root, root / name, "ForgeryNIR"))
    return {key: _existing(images, amounts, *key) for key, images in listed.items()}


def _df3(root: Path, amounts: Amounts) -> dict[Key, list[Found]]:
    found = {}
    for folder in class_folders(root):
        forged = folder / "1_fake"
        images = _below(root, forged if forged.is_dir() else folder, "DF3")
        key = (folder.name, "DF3")
        found[key] = ranked(images, amounts.seed, *key)[: amounts.images]
    return found


SOURCES = (
    Source(
        "ffpp",
        "FaceForensics++",
        "manipulated_sequences/<method>/c23/images/<video>/<frame>, and the same below "
        "original_sequences/youtube",
        _ffpp,
        (*_FFPP, "Real"),
    ),
    Source("celebdf", "CelebDF", "images/Celeb-real/<video>/<frame>", _celebdf, ("Real",)),
    Source(
        "forgerynet",
        "ForgeryNet",
        "image_list.txt with a path and three labels a line, and images/",
        _forgerynet,
        tuple(_FORGERYNET.values()),
    ),
    Source(
        "dffd",
        "DFFD",
        "faceapp/, pggan_v2/, stylegan_ffhq/ or stargan/, each with train/ and others",
        _dffd,
        tuple(_DFFD.values()),
    ),
    Source(
        "forgerynir",
        "ForgeryNIR",
        "lists/ForgeryNIR-mix_multi.txt with a path a line",
        _forgerynir,
        tuple(_FORGERYNIR.values()),
    ),
    Source("df3", "DF3", "a folder a generator, with images in it or in its 1_fake/", _df3, ()),
)
"""The source data sets, in the order of the command's options."""


def _frames(root: Path, place: str, source: str, count: int) -> list[Found]:
    """Evenly spaced frames of every video below ``<root>/<place>/images*/``."""
    folders = [each for each in _subfolders(root / place) if each.name.startswith("images")]
    _one_of(folders)
    return [found for folder in folders for found in _videos(root, folder, source, count)]


def _videos(root: Path, folder: Path, source: str, count: int) -> list[Found]:
    """Evenly spaced frames of every video of a folder."""
    found: list[Found] = []
    for video in class_folders(folder):
        frames = {each.path.name: each.path for each in files_below(video) if not each.passed_over}
        chosen = evenly([frames[name] for name in natural_sort(frames)], count)
        group = f"{source}/{video.name}"
        found += [_found(root, path, source)._replace(group=group) for path in chosen]
    return found


def _one_of(folders: list[Path]) -> None:
    if len(folders) > 1:
        names = " and ".join(folder.name for folder in folders)
        raise UserError(f"{folders[0].parent}: {names} both hold frames; move one of them away")


def _subfolders(folder: Path) -> list[Path]:
    return class_folders(folder) if folder.is_dir() else []


def _below(root: Path, folder: Path, source: str) -> list[Found]:
    return [_found(root, each.path, source) for each in files_below(folder) if not each.passed_over]


def _found(root: Path, path: Path, source: str) -> Found:
    """An image that stands alone."""
    identity = f"{source}/{path.relative_to(root).as_posix()}"
    return Found(path, identity, identity)


def _edited(image: Found) -> Found:
    """DFFD: several edits of an image are a group."""
    name = _EDITED.fullmatch(image.path.name)
    return image._replace(group=f"DFFD/{name[1]}") if name else image


def _with_groups(images: list[Found]) -> list[Found]:
    """ForgeryNet: the frames in a folder are a video; where all are in one, each stands alone."""
    folders = {image.path.parent for image in images}
    if len(folders) < 2:
        return images
    return [image._replace(group=image.id.rpartition("/")[0]) for image in images]


def _existing(images: list[Found], amounts: Amounts, *key: object) -> list[Found]:
    """The first images in random order that are there."""
    chosen: list[Found] = []
    for image in ranked(images, amounts.seed, *key):
        if len(chosen) == amounts.images:
            break
        if image.path.is_file():
            chosen.append(image)
    return chosen


def _lines(file: Path) -> Iterator[str]:
    """The lines of a list that have text; none where there is no such file."""
    if not file.is_file():
        return
    try:
        with file.open(encoding="utf-8") as stream:
            yield from filter(None, map(str.strip, stream))
    except (OSError, UnicodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); unpack it again") from None
