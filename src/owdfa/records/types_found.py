"""What a method says of all training images together: how many types, how many novel images."""

from owdfa.config import Settings


class KnownOut(Settings):
    """What was measured on known types whose labels were hidden (leave-known-out)."""

    cllr: float
    """Cost of likelihood ratios in bits: 0 is right and sure, 1 says nothing, more misleads."""
    misled: float
    """Share of images of hidden types with a ratio above 10 for a type that did not make them."""
    known: float
    """Accuracy, single match, of unlabelled images of types that kept their labels."""
    hidden: float
    """Accuracy of images of hidden types."""
    absorbed: float
    """Share of images of hidden types that were given to a type with labels."""


class TypesFound(Settings):
    """The number of types and the share of novel images, with their uncertainty."""

    num_types: int
    """Known and found ones."""
    interval: tuple[int, int] | None
    """Of the number of types; None where it was given, or not repeated on parts."""
    novel_share: float | None
    """At least this share of the unlabelled training images is of novel types. None where the
    network has learnt the labels: then labelled images are not like unlabelled ones of their type,
    no bound holds, and ``known_out`` is too good."""
    confidence: float
    """Of that bound."""
    known_out: KnownOut | None
    """None where there are too few known types to hide any; there are no likelihood ratios then."""

    @property
    def lines(self) -> list[str]:
        """In plain words, a sentence a line."""
        between = ", interval {}-{}".format(*self.interval) if self.interval else ""
        hidden = "with known types hidden"
        if self.novel_share is None:
            share = "no bound on the share of novel images, since the network has learnt the labels"
            hidden += ", which the network had learnt (too good)"
        elif self.novel_share:
            share = (
                f"at least {self.novel_share:.0%} of the unlabelled images are of novel types"
                f" ({self.confidence:.0%} confidence)"
            )
        else:
            share = "it cannot be shown that any unlabelled image is of a novel type"
        made = [f"{self.num_types} types{between}; {share}"]
        if self.known_out is not None:
            out = self.known_out
            made.append(
                f"{hidden}: accuracy {out.known:.0%} known, {out.hidden:.0%} hidden;"
                f" likelihood ratios cost {out.cllr:.2f} bits (1 says nothing), {out.misled:.1%} of"
                " hidden images misled (ratio above 10 for a wrong type)"
            )
        return made
