"""Audit: what is wrong with images and their split before anything is trained on them.

Leaks make a score worthless: bytes, groups or persons on both sides of a split. Shortcuts make it
hollow: the form of a file gives its class away. Labels that look wrong, and images that look like
one on the other side, are for the user to judge: the page shows them side by side.
"""

from pathlib import Path

from owdfa.config import Settings
from owdfa.files import check_replaceable, holds_mark, write_text
from owdfa.progress import OnProgress, no_progress
from owdfa.stages.audit.copies import copies, look_alikes
from owdfa.stages.audit.embedding import Embedding, embed
from owdfa.stages.audit.findings import Audit, Finding
from owdfa.stages.audit.images import read_images
from owdfa.stages.audit.labels import doubtful_labels
from owdfa.stages.audit.leaks import leaks
from owdfa.stages.audit.neighbours import neighbours
from owdfa.stages.audit.properties import shortcuts

_PAGE_MARK = b'<meta name="generator" content="owdfa data audit">'


class AuditOptions(Settings):
    """Where to find what belongs to the images."""

    run: Path | None = None
    """A run, or what export wrote: its embedding shows neighbours and doubtful labels."""
    store: Path | None = None
    """Folder of the crops; None for the one that the manifest names."""
    manifest: Path | None = None
    """The manifest that a split was made from, where it has moved."""


def audit(
    place: Path,
    output: Path | None = None,
    *,
    options: AuditOptions | None = None,
    on_progress: OnProgress = no_progress,
) -> Audit:
    """Look for copies, leaks, shortcuts, near neighbours and doubtful labels.

    Args:
        place: Folder of a split, or a manifest. Only a split can leak.
        output: HTML page to write; None for none.
        options: Where to find what belongs to the images.
        on_progress: Called with how much is done of the step at hand, and its name.

    Returns:
        What was found; nothing is changed.

    Raises:
        UserError: The images cannot be read, or ``output`` is something other than such a page.
    """
    options = options or AuditOptions()
    if output is not None:
        check_replaceable(output, _is_page)
    images = read_images(place, options.manifest, options.store)
    embedding = embed(images, options.run, on_progress)  # first: a run may not open
    made = shortcuts(images, on_progress)
    findings = [*leaks(images), *copies(images), *look_alikes(images), *made.findings]
    notes = [*images.notes, *made.notes]
    if isinstance(embedding, Embedding):
        findings += [*neighbours(images, embedding), *doubtful_labels(images, embedding)]
    else:
        notes.append(embedding)
    found = Audit(images, _worst_first(findings), made.ratings, tuple(notes))
    if output is not None:
        from owdfa.stages.audit.page import render

        write_text(output, render(found), _is_page)
    return found


def _worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda each: not each.is_leak))


def _is_page(path: Path) -> bool:
    return holds_mark(path, _PAGE_MARK)
