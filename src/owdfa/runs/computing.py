"""What a network is computed on and in."""

from typing import Literal

from owdfa.config import Settings

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["32-true", "bf16-mixed"]


class Computing(Settings):
    """What to predict on and in.

    Attributes:
        device: ``auto`` is a GPU where there is one; None for what the run was told.
        precision: ``bf16-mixed`` takes convolutions and products in bfloat16, which has two to
            three digits; None for what the run was told.
    """

    device: Device | None = None
    precision: Precision | None = None


AS_TOLD = Computing()
