"""OW-DFA and OW-DFA++: the published CSV of images, and how to build one from the source data sets.

``listing`` reads the CSV, and draws training images from it as the authors' release does;
``sources`` finds images in the source data sets as they are published; ``building`` writes the CSV.
Facts on both are from the release, TencentYoutuResearch/OpenWorld-DeepFakeAttribution @22e2584.
"""

from owdfa.datasets.owdfa.building import BuildOptions, Built, build
from owdfa.datasets.owdfa.listing import paper_roles, read

__all__ = [
    "DESCRIPTION",
    "FACES",
    "PROTOCOL",
    "BuildOptions",
    "Built",
    "build",
    "paper_roles",
    "read",
]

DESCRIPTION = "the CSV of OW-DFA or OW-DFA++, published or made by: owdfa data build owdfa"
PROTOCOL: str | None = "owdfa/p1"
FACES = "dlib"
