"""Gather what an evidence report holds: from the case, its inputs and the run, and nothing else.

The same case, inputs and run give the same ``Evidence`` and the same pictures, so that whoever has
them can make the report again and compare.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median_low

import numpy as np
from PIL import Image, ImageDraw

from owdfa.case import ATTRIBUTED, Case, Entry, Item
from owdfa.case.journal import clock_notes
from owdfa.case.lines import GROUPS, RESCANNED
from owdfa.case.review import describe
from owdfa.images.boxes import Box
from owdfa.images.decode import BadImageError, decoded
from owdfa.images.faces import crop_to_size
from owdfa.images.video import pyav_version
from owdfa.pages import thumbnail
from owdfa.records.verdict import Attribution, FileVerdict, Outcome, Verdict
from owdfa.stages.evidence.card import ModelCard, make_card
from owdfa.stages.evidence.credentials import PACKAGE, read_credentials, reader_version
from owdfa.stages.evidence.data import Evidence, FaceEvidence, Gathered, InputEvidence, Line, State
from owdfa.stages.evidence.footage import shown_frames
from owdfa.stages.evidence.metadata import read_metadata
from owdfa.stages.evidence.networks import Network

MAX_SHOWN = 300
"""Inputs with pictures and details; of those that follow, the table has a line each."""
_CROP, _EXAMPLE, _OVERVIEW = 224, 112, 480  # longest side of a picture in pixels
_MAX_LINES, _MAX_TEXT = 200, 200
_PARTS = ("owdfa", "pillow")
_BOX_COLOUR = (255, 64, 0)


def gather(case: Case, networks: dict[str, Network], until: int | None = None) -> Gathered:
    """Gather the content of a report.

    Args:
        case: The case.
        networks: By digest of the attribution; see ``start_networks``.
        until: Line of the journal to stop at; None for the last.
    """
    entries = case.entries[:until]
    pictures: dict[str, str] = {}
    items = list(case.items(until))
    inputs = tuple(
        _input(case, item, networks[item.verdict.attribution], pictures, number < MAX_SHOWN)
        for number, item in enumerate(items)
    )
    evidence = Evidence(
        case=case.id,
        head=entries[-1].hash,
        inputs=inputs,
        attributions={digest: each.attribution for digest, each in networks.items()},
        cards={digest: _card(each, digest, items) for digest, each in networks.items()},
        journal=tuple(journal_line(entry) for entry in entries[-_MAX_LINES:]),
        num_lines=len(entries),
        notes=tuple(clock_notes(entries)),
        versions={
            **{name: version(name) for name in _PARTS},
            PACKAGE: reader_version(),
            "PyAV": pyav_version(),
        },
    )
    return Gathered(evidence, pictures)


def _input(
    case: Case, item: Item, network: Network, pictures: dict[str, str], in_detail: bool
) -> InputEvidence:
    place, file = case.find_input(item), item.verdict
    state, data = _read(place, file.sha256)
    if not in_detail or state != "same":
        return InputEvidence(file=file, line=item.seq, earlier=item.earlier, state=state)
    made = network.attribution
    if file.video is None:
        image = _decode(data, place)
        images: Sequence[Image.Image | None] = [image] * len(file.verdicts)
        overview = _overview(image, file, made, pictures)
    else:
        images, overview = shown_frames(place, file, made.frame_interval), None
    return InputEvidence(
        file=file,
        line=item.seq,
        earlier=item.earlier,
        state=state,
        overview=overview,
        metadata=read_metadata(data),
        credentials=read_credentials(data),
        faces=tuple(
            _face(image, verdict, network, pictures)
            for image, verdict in zip(images, file.verdicts, strict=True)
        ),
    )


def _read(place: Path, digest: str | None) -> tuple[State, bytes]:
    """Whether an input is as it was, and its content if so."""
    if digest is None:
        return "unread", b""
    try:
        data = place.read_bytes()
    except OSError:
        return "missing", b""
    return ("same", data) if hashlib.sha256(data).hexdigest() == digest else ("changed", b"")


def _decode(data: bytes, place: Path) -> Image.Image | None:
    try:
        return decoded(data, place)
    except BadImageError:
        return None


def _overview(
    image: Image.Image | None, file: FileVerdict, made: Attribution, pictures: dict[str, str]
) -> str | None:
    """The whole image, its faces framed and numbered; None where the crop shows the same."""
    crop_is_all = image is not None and image.size == (made.store_size, made.store_size)
    seen = all(each.box is None and each.outcome.reason != "no-face" for each in file.verdicts)
    if image is None or (crop_is_all and seen):
        return None
    scale = min(1.0, _OVERVIEW / max(image.size))
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    small = image.resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(small)
    for number, verdict in enumerate(file.verdicts, start=1):
        if verdict.box is not None:
            edges = [getattr(verdict.box, name) for name in ("left", "top", "right", "bottom")]
            left, top, right, bottom = (round(edge * scale) for edge in edges)
            low, high = (min(left, right), min(top, bottom)), (max(left, right), max(top, bottom))
            draw.rectangle((low, high), outline=_BOX_COLOUR, width=2)
            draw.text((left + 4, top + 2), str(number), fill=_BOX_COLOUR)
    return _keep(np.asarray(small), _OVERVIEW, pictures)


def _face(
    image: Image.Image | None, verdict: Verdict, network: Network, pictures: dict[str, str]
) -> FaceEvidence:
    if image is None or (verdict.box is None and verdict.outcome.reason == "no-face"):
        return FaceEvidence(picture=None)
    made = network.attribution
    box = None if verdict.box is None else Box(**verdict.box.model_dump())
    crop = crop_to_size(image, box, made.store_size, made.fit)
    picture = _keep(crop, _CROP, pictures)
    classes = classes_named(verdict.outcome, made)
    if not classes:
        return FaceEvidence(picture=picture)
    if network.images is None:
        return FaceEvidence(picture=picture, note="the training images are not at hand")
    embedding = network.predictor.predict_batch(crop[None]).embedding[0]
    found = network.images.find(embedding.astype(np.float64), classes)
    return FaceEvidence(
        picture=picture,
        nearest=tuple(found.neighbours),
        nearest_pictures=tuple(_keep(each, _EXAMPLE, pictures) for each in found.crops),
        note=None if found.neighbours else "no training image of it carries a label",
    )


def classes_named(outcome: Outcome, attribution: Attribution) -> list[str]:
    """The known classes that an outcome names: one, those of a family, the real ones, or none."""
    calibration = attribution.calibration
    if outcome.kind == "known":
        return [str(outcome.name)]
    if outcome.kind == "real-consistent":
        return list(calibration.real)
    if outcome.kind == "family":
        forged = [name for name in calibration.known if name not in calibration.real]
        return [name for name in forged if calibration.families.get(name) == outcome.name]
    return []


def _keep(pixels: np.ndarray, size: int, pictures: dict[str, str]) -> str:
    """Add a picture of at most ``size`` pixels a side, once; return its name."""
    picture = thumbnail(pixels, size)
    name = hashlib.sha256(picture.encode()).hexdigest()
    pictures[name] = picture
    return name


def _card(network: Network, digest: str, items: Iterable[Item]) -> ModelCard:
    qualities = [
        item.verdict.jpeg_quality
        for item in items
        if item.verdict.attribution == digest and item.verdict.jpeg_quality is not None
    ]
    quality = median_low(qualities) if qualities else None
    return make_card(network.predictor, network.attribution, network.images, quality)


def journal_line(entry: Entry) -> Line:
    """A line of the journal as a page shows it."""
    return Line(
        seq=entry.seq,
        time=entry.time,
        who=entry.who,
        what=entry.what,
        about=_about(entry),
        hash=entry.hash,
    )


def _about(entry: Entry) -> str:
    """What a line is about, in short."""
    if entry.what == ATTRIBUTED:
        num, command = len(entry.data["files"]), entry.data["command"]
        command = command.partition(" job:")[0]  # owdfa serve names each file's place in its queue
        return f"{num:,} file{'' if num == 1 else 's'}" + (f": {command}" if command else "")
    if entry.what == "created":
        return ""
    if entry.what == RESCANNED:
        changes = Counter(entry.data["changes"])
        changed = changes.total() - changes["same"]
        return f"{changed:,} of {changes.total():,} verdicts are others by {entry.data['run']}"
    if entry.what in GROUPS:
        return describe(entry)[:_MAX_TEXT]
    text = json.dumps(entry.data, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
