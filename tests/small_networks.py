"""Networks and batches of a size that a test can afford: those that ``owdfa check-method`` uses."""

from owdfa.extending.toys import losses
from owdfa.extending.toys import toy_backbone as backbone
from owdfa.extending.toys import toy_batch as batch

__all__ = ["backbone", "batch", "losses"]
