"""lab, the built-in synthetic benchmark: drawn faces, a camera, and four families of forgeries.

Nothing here is evidence about real forgeries: it is data that anyone can make anywhere, on which
all stages from files to scores can be tried. ``draw`` makes the files, ``read`` lists them.

The modules, in the order in which an image passes them: ``people`` and ``faces`` draw a person,
``camera`` photographs them, ``decoder`` is what every forger has, ``swap``, ``reenact``, ``edit``
and ``generate`` are the families, ``image`` puts one image together, ``drawing`` makes the folder.
"""

from owdfa.datasets.lab.drawing import draw, read
from owdfa.datasets.lab.settings import LabSettings

__all__ = ["DESCRIPTION", "FACES", "PROTOCOL", "LabSettings", "draw", "read"]

DESCRIPTION = "synthetic: drawn faces and simulated forgeries, made by: owdfa data draw DIR"
PROTOCOL: str | None = "lab/p1"
FACES = "none"
