"""What an image file says of itself: metadata, and content credentials."""

import io
import sys

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from owdfa.stages.evidence import credentials
from owdfa.stages.evidence.credentials import read_credentials
from owdfa.stages.evidence.metadata import read_metadata


def picture(kind="JPEG", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def test_camera_and_software_are_read_from_exif():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = "Acme", "Cam\n3\x00", "Edit" * 200
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    found = dict(read_metadata(picture(exif=exif.tobytes())))
    assert found["EXIF camera maker"] == "Acme"
    assert found["EXIF camera model"] == "Cam 3"
    assert found["EXIF taken"] == "2024:01:02 03:04:05"
    assert found["EXIF software"] == f"{'Edit' * 75}..."


def test_texts_that_generators_leave_in_a_png_file_are_read():
    texts = PngInfo()
    texts.add_text("parameters", "a portrait, Steps: 20")
    assert read_metadata(picture("PNG", pnginfo=texts)) == (
        ("PNG text 'parameters'", "a portrait, Steps: 20"),
    )


@pytest.mark.parametrize(
    "text",
    [
        b'<x:xmpmeta><rdf:Description xmp:CreatorTool="Paint 5"/></x:xmpmeta>',
        b"<x:xmpmeta><xmp:CreatorTool>Paint 5</xmp:CreatorTool></x:xmpmeta>",
    ],
)
def test_the_creator_tool_is_read_from_xmp(text):
    found = dict(read_metadata(picture(xmp=text)))
    assert found == {"XMP creator tool": "Paint 5"}


@pytest.mark.parametrize(
    "data", [b"", b"no image", picture()[:200], b"<x:xmpmeta>" * 10_000, picture()]
)
def test_a_file_that_says_nothing_has_no_metadata(data):
    assert read_metadata(data) == ()


def test_a_manifest_that_fits_is_told_from_one_that_does_not():
    pytest.importorskip("c2pa")
    from signed_picture import signed

    whole = signed(picture())
    found = read_credentials(whole)
    assert found.status == "valid"
    assert ("Signed by", "Test Camera Works") in found.claims
    assert ("Action", "c2pa.created (trainedAlgorithmicMedia)") in found.claims
    assert "Whether the signer can be trusted was not checked" in found.sentence
    changed = bytearray(whole)
    changed[-20] ^= 1  # a pixel
    found = read_credentials(bytes(changed))
    assert (found.status, found.problems) == ("invalid", ("assertion.dataHash.mismatch",))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_absence_of_a_manifest_is_said_to_be_no_evidence(kind):
    pytest.importorskip("c2pa")
    found = read_credentials(picture(kind))
    assert (found.status, found.problems) == ("none", ())
    assert "Absence of a manifest is not evidence" in found.sentence


def test_what_cannot_be_read_is_said_to_be_unchecked():
    pytest.importorskip("c2pa")
    assert read_credentials(b"\xff\xd8\xff" + b"x" * 100).status in ("unreadable", "none")


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = read_credentials(picture())
    assert found.status == "not-checked"
    assert found.sentence == "Not checked: install c2pa-python with pip install 'owdfa[c2pa]'."
    assert credentials.reader_version() is None
