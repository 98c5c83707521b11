"""What a file says of its camera and software: its own word, which anybody can change."""

import re
from collections.abc import Iterator
from typing import Any

from PIL import ExifTags, Image

from owdfa.images.formats import open_image
from owdfa.images.quiet import QUIET
from owdfa.signatures import HEAD, identify

_TAGS = {
    "Make": "Camera maker",
    "Model": "Camera model",
    "LensModel": "Lens",
    "Software": "Software",
    "DateTime": "Changed",
    "DateTimeOriginal": "Taken",
    "Artist": "Artist",
    "ImageDescription": "Description",
}
_XMP = {
    rb"CreatorTool": "XMP creator tool",
    rb"DigitalSourceType": "XMP digital source type",
    rb"Credit": "XMP credit",
}
_MAX_TEXT, _MAX_FIELDS, _MAX_PACKET = 300, 40, 1 << 20


def read_metadata(data: bytes) -> tuple[tuple[str, str], ...]:
    """Name and value of what the file whose content is ``data`` says of its origin."""
    found = [*_header_fields(data), *_xmp_fields(data)]
    lines = [(_short(name), _short(value)) for name, value in found]
    return tuple(line for line in lines if line[1])[:_MAX_FIELDS]


def _header_fields(data: bytes) -> list[tuple[str, Any]]:
    """EXIF tags, and the texts of a PNG file: generators leave their settings there."""
    with QUIET:
        try:
            with open_image(data, identify(data[:HEAD])) as image:
                return [*_exif(image), *_texts(image)]
        except Exception:  # noqa: BLE001  damaged bytes make a decoder fail in any way
            return []


def _exif(image: Image.Image) -> Iterator[tuple[str, Any]]:
    exif = image.getexif()
    tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    for number, value in sorted(tags.items()):
        name = _TAGS.get(ExifTags.TAGS.get(number, ""))
        if name is not None:
            yield f"EXIF {name[0].lower()}{name[1:]}", value


def _texts(image: Image.Image) -> Iterator[tuple[str, Any]]:
    texts = getattr(image, "text", {})
    for name in sorted(texts):
        if name != "XML:com.adobe.xmp":
            yield f"PNG text {name!r}", texts[name]


def _xmp_fields(data: bytes) -> Iterator[tuple[str, str]]:
    """Some fields of an XMP packet, as an attribute or as an element."""
    start = data.find(b"<x:xmpmeta")
    packet = data[start : start + _MAX_PACKET] if start >= 0 else b""
    packet = packet[: packet.find(b"</x:xmpmeta>") + 1]  # nothing where that is not there
    for name, title in _XMP.items():
        found = re.search(
            rb":" + name + rb"(?:\s*=\s*[\"']([^\"'<>]{1,500})|>([^<>]{1,500})<)", packet
        )
        if found:
            yield title, (found[1] or found[2]).decode("utf-8", "replace")


def _short(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
