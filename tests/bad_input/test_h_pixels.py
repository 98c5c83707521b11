"""H. Sound pixels are never refused, nor turned twice, because of a file's metadata."""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from command_line import done
from owdfa.images.decode import BadImageError, decode, decoded, header, header_of
from picture_files import picture

UPRIGHT = picture(32, 48)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}
FORMATS = {
    "JPEG": {"quality": 95},
    "MPO": {"quality": 95},
    "PNG": {},
    "WEBP": {"quality": 95},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "TIFF deflate": {"compression": "tiff_adobe_deflate"},
    "AVIF": {"quality": 95},
    "HEIF": {"quality": 95},
    "JXL": {"lossless": True},
}
PLUGINS = {"HEIF": "pillow_heif", "JXL": "pillow_jxl"}


@pytest.fixture(autouse=True)
def pillow_as_it_was():
    """Writing HEIF and JXL registers them with Pillow; reading must not need that."""
    Image.init()
    before = [Image.ID, Image.OPEN, Image.SAVE]
    copies = [each.copy() for each in before]
    yield
    for each, copy in zip(before, copies, strict=True):
        each.clear()
        each.extend(copy) if isinstance(each, list) else each.update(copy)


def saved(pixels, name, **options):
    kind = name.split()[0]
    if kind in PLUGINS:
        plugin = pytest.importorskip(PLUGINS[kind])
        if kind == "HEIF":
            plugin.register_heif_opener()
        else:
            Image.register_save("JXL", plugin.JpegXLImagePlugin._save)
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, kind, **FORMATS[name], **options)
    for registered in (Image.ID, Image.OPEN):
        for opener in ("HEIF", "JXL"):
            if opener in registered:
                registered.remove(opener) if registered is Image.ID else registered.pop(opener)
    return stream.getvalue()


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def close(pixels, expected):
    return pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_upright_in_every_orientation(name, orientation):
    content = saved(STORED[orientation], name, exif=exif_of(orientation))
    assert close(np.asarray(decoded(content, "a")), UPRIGHT)
    if name.split()[0] not in PLUGINS:
        height, width = STORED[orientation].shape[:2]
        assert header_of(content, "a")[:2] == (width, height), "the size as stored"


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_tiff_of_every_mode_is_turned_once(mode):
    grey = STORED[6][:, :, 0]
    image = Image.fromarray(np.ascontiguousarray(grey))
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    plain, turned = BytesIO(), BytesIO()
    image.save(plain, "TIFF")
    image.save(turned, "TIFF", exif=exif_of(6))
    expected = np.rot90(np.asarray(decoded(plain.getvalue(), "a")), -1)
    assert np.array_equal(np.asarray(decoded(turned.getvalue(), "a")), expected)


@pytest.mark.parametrize("pages", [2, 3])
def test_tiff_of_several_pages_is_turned_once(pages):
    stream = BytesIO()
    first, *others = [Image.fromarray(np.ascontiguousarray(STORED[8]))] * pages
    first.save(stream, "TIFF", exif=exif_of(8), save_all=True, append_images=others)
    assert np.array_equal(np.asarray(decoded(stream.getvalue(), "a")), UPRIGHT)


def test_jxl_that_its_decoder_has_turned_is_not_turned_again():
    content = saved(UPRIGHT, "JXL", exif=exif_of(6))
    start = content.index(b"\xff\x0a") + 2
    bits = [content[start + i // 8] >> i % 8 & 1 for i in range(8 * 16)]
    # small, 5 bits of height, ratio 4 (3:2); then all_default, extra_fields, orientation - 1
    assert bits[0] == 1
    assert bits[9] == 0
    assert bits[10] == 0
    told = [*bits[:10], 1, 1, 0, 1, 0, 0, 0, *bits[11:]]  # orientation 6, no size, no preview
    whole = sum(bit << i for i, bit in enumerate(told[:128]))
    from owdfa.images.jxl import jxl_header

    found = jxl_header(b"\xff\x0a" + whole.to_bytes(16, "little"))
    assert found == (48, 32, 6)


def png_with(*chunks):
    """A PNG with chunks of this kind and content behind its header; a wrong checksum for None."""
    whole = saved(UPRIGHT, "PNG")
    made = b""
    for kind, content, *wrong in chunks:
        body = kind + content
        made += struct.pack(">I", len(content)) + body
        made += b"\1\2\3\4" if wrong else struct.pack(">I", zlib.crc32(body))
    return whole[:33] + made + whole[33:]


LONG = b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1)
PNGS = {
    "compressed text": (b"zTXt", b"workflow\0\0" + zlib.compress(LONG)),
    "international text": (b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(LONG)),
    "colour profile": (b"iCCP", b"icc\0\0" + zlib.compress(LONG)),
    "broken compressed text": (b"zTXt", b"workflow\0\0nothing"),
    "broken colour profile": (b"iCCP", b"icc\0\0nothing"),
    "a wrong checksum": (b"tEXt", b"a\0b", None),
    "broken EXIF": (b"eXIf", b"nothing"),
    "EXIF of a wrong checksum": (b"eXIf", b"MM\0*", None),
    "a broken resolution": (b"pHYs", b"\0"),
    "a broken gamma": (b"gAMA", b"\0"),
    "a broken animation": (b"acTL", b"\0\0"),
    "hexadecimal EXIF that is none": (b"tEXt", b"Raw profile type exif\0\nexif\n3\nzz\n"),
}


@pytest.mark.parametrize("name", PNGS)
def test_png_with_text_or_profile_that_cannot_be_used(name):
    content = png_with(PNGS[name])
    assert np.array_equal(np.asarray(decoded(content, "a")), UPRIGHT)
    assert header_of(content, "a")[:3] == (48, 32, "PNG")


def test_png_keeps_its_orientation_where_its_text_is_too_long():
    exif = exif_of(6).removeprefix(b"Exif\0\0")
    whole = BytesIO()
    Image.fromarray(np.ascontiguousarray(STORED[6])).save(whole, "PNG", exif=exif)
    body = b"zTXtworkflow\0\0" + zlib.compress(LONG)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    content = whole.getvalue()[:33] + chunk + whole.getvalue()[33:]
    assert np.array_equal(np.asarray(decoded(content, "a")), UPRIGHT)


def test_png_with_more_text_than_pillow_takes_in_all(monkeypatch):
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 100)
    content = png_with((b"tEXt", b"a\0" + b"b" * 90), (b"tEXt", b"c\0" + b"d" * 90))
    assert np.array_equal(np.asarray(decoded(content, "a")), UPRIGHT)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "JXL"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nothing", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x05\0"]
)
def test_broken_exif_is_left_aside(name, exif):
    try:
        content = saved(UPRIGHT, name, exif=exif)
    except Exception:  # noqa: BLE001  writers that refuse it: put it in the place of EXIF of the same length
        content = saved(UPRIGHT, name, exif=exif_of(1))
        content = content.replace(exif_of(1)[6:16], b"\xff" * 10)
    assert close(np.asarray(decoded(content, "a")), UPRIGHT)
    assert header_of(content, "a").width == 48


@pytest.mark.parametrize("name", ["TIFF", "TIFF lzw"])
@pytest.mark.parametrize("tag", [34665, 34853, 34675, 700])
def test_tiff_whose_metadata_lie_nowhere(name, tag):
    content = bytearray(
        saved(UPRIGHT, name, tiffinfo={tag: b"x" * 64} if tag in (34675, 700) else {tag: 8})
    )
    first = int.from_bytes(content[4:8], "little")
    for i in range(int.from_bytes(content[first : first + 2], "little")):
        at = first + 2 + 12 * i
        if int.from_bytes(content[at : at + 2], "little") == tag:
            content[at + 8 : at + 12] = b"\xf0\xff\xff\x0f"
            break
    else:
        pytest.skip("the tag is not written")
    assert np.array_equal(np.asarray(decoded(bytes(content), "a")), UPRIGHT)


def test_jpeg_with_broken_segments():
    whole = saved(UPRIGHT, "JPEG")
    for marker, body in ((0xED, b"Photoshop 3.0\x008BIM\x03\xed\0"), (0xE2, b"MPF\0nothing")):
        segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
        assert close(np.asarray(decoded(whole[:2] + segment + whole[2:], "a")), UPRIGHT)


def test_cmyk_of_adobe_keeps_the_segment_that_says_how_its_colours_are_stored():
    stream = BytesIO()
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(stream, "JPEG", quality=100)
    body = b"Photoshop 3.0\x008BIM\x03\xed\0"
    segment = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    content = stream.getvalue()[:2] + segment + stream.getvalue()[2:]
    assert np.array_equal(decoded(content, "a"), decoded(stream.getvalue(), "a"))


def test_nothing_of_pillow_or_the_process_is_changed():
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, Image.MAX_IMAGE_PIXELS
    shown, filters = warnings.showwarning, list(warnings.filters)
    decoded(png_with(PNGS["compressed text"]), "a")
    assert limits == (
        PngImagePlugin.MAX_TEXT_CHUNK,
        PngImagePlugin.MAX_TEXT_MEMORY,
        Image.MAX_IMAGE_PIXELS,
    )
    assert (warnings.showwarning, list(warnings.filters)) == (shown, filters)


def test_pixels_that_are_damaged_are_refused_whatever_the_metadata():
    content = bytearray(png_with(PNGS["compressed text"]))
    content[content.rindex(b"IDAT") + 20] ^= 0xFF
    with pytest.raises(BadImageError, match="is damaged"):
        decoded(bytes(content), "a")


def test_a_copy_in_front_of_the_image_is_not_taken_for_it(tmp_path):
    path = tmp_path / "photo.dng"
    Image.fromarray(UPRIGHT).save(path, "TIFF", tiffinfo={254: 1})
    for function in (header, decode):
        with pytest.raises(BadImageError, match="a reduced copy, as a camera's RAW file"):
            function(path)


def test_jxl_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    pytest.importorskip("pillow_jxl")
    monkeypatch.setattr(
        "owdfa.images.decode.open_image", lambda *_: pytest.fail("this decodes all pixels")
    )
    number = 0 | 3 << 1 | (2**17 - 1) << 3 | 1 << 33  # 2^17 a side: 30 bits, ratio 1:1
    with pytest.raises(BadImageError, match="131072 x 131072 pixels are more than"):
        decoded(b"\xff\x0a" + number.to_bytes(16, "little"), "a")


def test_scan_counts_what_it_leaves_aside(photos, tmp_path):
    (photos / "a" / "comfy.png").write_bytes(png_with(PNGS["compressed text"]))
    said = done("data", "scan", photos, "-o", tmp_path / "images.parquet")
    assert "41 images, 2 classes, 0 bad" in said
    assert "1 with metadata left aside" in said
    listed = (tmp_path / "images.parquet.bad.txt").read_text()
    assert "comfy.png: metadata left aside (" in listed


def test_odd_images_are_used(photos, tmp_path):
    draw = np.random.default_rng(1)
    grey = draw.integers(0, 65536, (12, 12), dtype=np.uint16)
    Image.fromarray(grey).save(photos / "a" / "sixteen.png")
    Image.new("CMYK", (12, 12), (9, 8, 7, 6)).save(photos / "a" / "cmyk.jpg")
    Image.new("P", (12, 12)).save(photos / "a" / "palette.png")
    Image.new("RGBA", (12, 12), (1, 2, 3, 4)).save(photos / "a" / "transparent.png")
    Image.new("L", (12, 12)).save(photos / "a" / ("n" * 251 + ".png"))
    manifest, store = tmp_path / "images.parquet", tmp_path / "store"
    assert "45 images, 2 classes, 0 bad" in done("data", "scan", photos, "-o", manifest)
    assert "45 crops" in done("data", "prepare", manifest, "-o", store, "--size", 8, "--jobs", 1)
