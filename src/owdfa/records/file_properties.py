"""The baseline that looks at no pixel: how many images the form of their files alone gets right."""

from dataclasses import asdict, dataclass
from typing import Any

NAME = "file properties alone"
SETS = ("all", "known", "novel")


@dataclass(frozen=True)
class FileProperties:
    """Accuracy on test images of a decision tree on properties of the files.

    It learns from all images that are trained on, with all their labels, the hidden ones too: what
    a network could have learned from the files, it could. Chance is to name the commonest class.

    Attributes:
        properties: What it looked at: in these files differ. Empty where they do in none.
        accuracy: By ``"all"``, ``"known"`` and ``"novel"``, those of which there is an image.
        chance: Likewise.
        reason: Why it is not known; None where it is.
    """

    properties: tuple[str, ...]
    accuracy: dict[str, float]
    chance: dict[str, float]
    reason: str | None = None

    @property
    def line(self) -> str:
        """What the user should know, in one line."""
        if self.reason:
            return f"{NAME}: {self.reason}"
        chance = " / ".join(
            f"{100 * self.chance[part]:.1f}" for part in SETS if part in self.chance
        )
        if not self.properties:
            return f"{NAME}: they do not differ in format, size or quality; chance is {chance}"
        return (
            f"{NAME}: a decision tree on {', '.join(self.properties)}, told all training labels;"
            f" chance, to name the commonest class, is {chance}"
        )

    def as_json(self) -> dict[str, Any]:
        """As ``of_json`` reads it."""
        return asdict(self)

    @classmethod
    def of_json(cls, values: dict[str, Any] | None) -> "FileProperties | None":
        """Read what ``as_json`` gave; None of None.

        Raises:
            TypeError: It is something else.
            KeyError: Likewise.
        """
        if values is None:
            return None
        return cls(**{**values, "properties": tuple(values["properties"])})
