"""The quality of JPEG files, estimated."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from owdfa.images.jpeg import jpeg_quality, jpeg_traits
from owdfa.records.manifest import Manifest
from owdfa.stages.scan import scan
from picture_files import picture


def saved(kind: str = "JPEG", **options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(picture()).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("quality", [1, 2, 10, 24, 49, 50, 51, 75, 89, 90, 95, 99, 100])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_the_quality_that_a_file_was_saved_with_is_found(quality, options):
    assert jpeg_quality(saved(quality=quality, **options)) == quality


def test_the_quality_is_found_behind_a_long_comment():
    assert jpeg_quality(saved(quality=60, comment=b"x" * 60_000)) == 60


def test_a_table_of_another_kind_gets_the_nearest_quality():
    flat = [[8] * 64, [8] * 64]
    assert 1 <= jpeg_quality(saved(qtables=flat)) <= 100


def test_what_is_no_jpeg_file_has_no_quality():
    for data in (b"", b"\xff\xd8", saved("PNG"), saved()[:30]):
        assert jpeg_quality(data) is None
    for cut in range(0, 400, 7):
        jpeg_quality(saved()[:cut])


def test_a_scan_notes_the_quality(tmp_path):
    (tmp_path / "a").mkdir()
    for name, options in (("1.jpg", {"quality": 83}), ("2.png", {})):
        Image.fromarray(np.roll(picture(), 1)).save(tmp_path / "a" / name, **options)
    scan(str(tmp_path), tmp_path / "images.parquet")
    table = Manifest.read(tmp_path / "images.parquet").table
    assert table["jpeg_quality"].to_pylist() == [83, None]


def test_traits_tell_encoders_apart_and_not_pictures():
    plain = jpeg_traits(saved(quality=80))
    assert plain == jpeg_traits(saved(quality=80)[:700])  # the beginning is enough
    assert plain.form == "baseline 22 11 11"
    assert jpeg_traits(saved(quality=81)).tables != plain.tables
    assert jpeg_traits(saved(quality=80, subsampling=0)).form == "baseline 11 11 11"
    assert jpeg_traits(saved(quality=80, progressive=True)).form == "progressive 22 11 11"
    for data in (b"", saved("PNG"), saved()[:30]):
        assert jpeg_traits(data) is None
