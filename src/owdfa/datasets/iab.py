"""ImageAttributionBench as published: ``<generator>/<kind>/<content>/``, and ``real/`` alike.

The source of an image is its content: cat, dog, wild, FFHQ, celebahq, bedroom, church, classroom,
COCO or ImageNet-1k, of which the last two have no folder of a kind above them. Files are named
``<content>_p<prompt>_i<number>.png``; every generator was given the same prompts, so images of one
prompt are a group, whoever made them. The release reads the first 1,000 prompts of a content, two
images each (four of Midjourney); here every image is listed, and any generator that is added.

Layout: mttry/ImageAttributionBench @19bb7d8, its README and dataset/; the images are
doi:10.7910/DVN/O4S4IV of Harvard Dataverse, an archive for each generator and content.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from owdfa.datasets.base import ImageEntry, root_path
from owdfa.datasets.folder import class_folders, files_below
from owdfa.errors import UserError

DESCRIPTION = "ImageAttributionBench: <generator>/<kind>/<content>/, and real/ alike"
PROTOCOL: str | None = "iab/p1"
FACES = "none"

_KINDS = ("AnimalFace", "HumanFace", "Scene")  # with a folder a content in each
_PLAIN = ("COCO", "ImageNet-1k")
_PROMPT = re.compile(r".*_p(\d+)_i\d+")


def read(root: str) -> Iterator[ImageEntry]:
    """List the images of every generator's contents, and of ``real/``.

    Raises:
        UserError: There is no such folder, it is empty, or a folder in it is no generator's.
    """
    top = root_path(root)
    generators = class_folders(top)
    if not generators:
        raise UserError(f"{root}: no generator's folder there, such as SDXL; name their parent")
    for generator in generators:
        yield from _read_generator(top, generator)


def _read_generator(top: Path, generator: Path) -> Iterator[ImageEntry]:
    folders = {folder.name: folder for folder in class_folders(generator)}
    contents = [folders[name] for name in _PLAIN if name in folders]
    for kind in _KINDS:
        contents += class_folders(folders[kind]) if kind in folders else []
    if not contents:
        raise UserError(
            f"{generator}: holds none of {', '.join((*_KINDS, *_PLAIN))}; is it a generator's "
            "folder of ImageAttributionBench? move it away"
        )
    family = "real" if generator.name == "real" else "generate"
    for content in contents:
        for path, passed_over in files_below(content):
            identity = path.relative_to(top).as_posix()
            prompt = _PROMPT.fullmatch(path.stem)
            group = f"{content.name}/p{prompt[1]}" if prompt else identity
            row = (generator.name, family, content.name, group, passed_over)
            yield ImageEntry(identity, path, *row)
