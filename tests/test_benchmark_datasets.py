"""DF40, OSMA and ImageAttributionBench: classes, groups and protocols of their own layouts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from data_set_samples import sample_df40, sample_iab, sample_osma, touch
from owdfa.datasets import df40, iab, osma
from owdfa.datasets.base import ImageEntry
from owdfa.errors import UserError
from owdfa.protocols import names_in, read_protocol
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.stages.split import SplitOptions, split


def by_id(entries: Iterator[ImageEntry]) -> dict[str, ImageEntry]:
    return {entry.id: entry for entry in entries}


def test_df40_tells_methods_and_real_faces_apart_at_every_depth(tmp_path: Path) -> None:
    found = by_id(df40.read(sample_df40(tmp_path)))
    assert {name: (entry.class_, entry.source, entry.group) for name, entry in found.items()} == {
        "DF40/blendface/ff/frames/001_870/000.png": (
            *("blendface", "FaceForensics++", "FaceForensics++/001"),
        ),
        "DF40/blendface/cdf/frames/id0_id1_0002/000.png": (
            *("blendface", "Celeb-DF", "Celeb-DF/id0_0002"),
        ),
        "DF40/DiT/cdf/YouTube-real/00043/458.png": ("DiT", "Celeb-DF", "Celeb-DF/00043"),
        "DF40/e4e/ff/inversions/000.png": (
            *("e4e", "FaceForensics++", "DF40/e4e/ff/inversions/000.png"),
        ),
        "DF40/StarGANv2/fake/7.png": ("starganv2", "CelebA", "DF40/StarGANv2/fake/7.png"),
        "DF40/StarGANv2/real/7.png": ("real", "CelebA", "DF40/StarGANv2/real/7.png"),
        "DF40/heygen/fake/frames/3/1.png": ("heygen", "VFHQ", "DF40/heygen/fake/frames/3"),
        "DF40_train/simswap/frames/001_872/000.png": (
            *("simswap", "FaceForensics++", "FaceForensics++/001"),
        ),
        "DF40_train/StyleGAN2/seed0188.png": (
            *("StyleGAN2", "FaceForensics++", "DF40_train/StyleGAN2/seed0188.png"),
        ),
        "FaceForensics++/original_sequences/youtube/c23/frames/001/000.png": (
            *("real", "FaceForensics++", "FaceForensics++/001"),
        ),
        "Celeb-DF-v2/Celeb-real/frames/id0_0002/000.png": (
            *("real", "Celeb-DF", "Celeb-DF/id0_0002"),
        ),
    }
    assert found["DF40/DiT/cdf/YouTube-real/00043/458.png"].family == "generate"
    assert found["DF40/StarGANv2/real/7.png"].family == "real"


def test_df40_of_one_part_alone(tmp_path: Path) -> None:
    touch(tmp_path, "simswap/frames/001_872/000.png", "pixart/ff/001/1.png")
    found = by_id(df40.read(str(tmp_path)))
    assert [entry.class_ for entry in found.values()] == ["pixart", "simswap"]


def test_df40_lists_the_frames_of_its_json_files_once(tmp_path: Path) -> None:
    sample_df40(tmp_path)
    place = "deepfakes_detection_datasets"
    frames = [f"{place}/DF40/blendface/ff/frames/001_870/{number:03d}.png" for number in (0, 1)]
    real = f"/disk/{place}\\FaceForensics++\\original_sequences\\youtube\\c23\\frames\\001\\000.png"
    videos = {"001_870": {"label": "blendface_Fake", "frames": frames}}
    reals = {"001": {"label": "blendface_Real", "frames": [real]}}
    content = {"blendface_Fake": {"test": videos, "val": videos}, "blendface_Real": {"test": reals}}
    (tmp_path / "dataset_json").mkdir()
    file = tmp_path / "dataset_json/blendface_ff.json"
    file.write_text(json.dumps({"blendface_ff": content}))
    listed = list(df40.read(str(tmp_path)))
    assert [(entry.class_, entry.passed_over) for entry in listed] == [
        ("blendface", None),
        ("blendface", "listed in blendface_ff.json, not there"),
        ("real", None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"a": {"b": 1}}', "lists no frames"),
        ('{"frames": ["elsewhere/1.png"]}', "'elsewhere/1.png' is below none of"),
        ('{"frames": ["DF40/../../1.png"]}', "is below none of"),
        ('{"frames": ["DF40/novel/1.png"]}', "'novel' is no method's folder of DF40"),
    ],
)
def test_df40_refuses_lists_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dataset_json").mkdir()
    (tmp_path / "dataset_json/a.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        list(df40.read(str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_osma_has_its_benchmarks_classes(tmp_path: Path) -> None:
    found = by_id(osma.read(sample_osma(tmp_path)))
    assert {name: (entry.class_, entry.family, entry.group) for name, entry in found.items()} == {
        "fake/ProGAN/cat/003041.png": (*("progan_cat", "generate", "fake/ProGAN/cat/003041.png"),),
        "fake/ProGAN/multiseed_lsun/lsun_bedroom_200k_png_seed_v3/ProGAN_1.png": (
            *("lsun_ProGAN_seed3", "generate"),
            "fake/ProGAN/multiseed_lsun/lsun_bedroom_200k_png_seed_v3/ProGAN_1.png",
        ),
        "fake/FaceShifter/youtube_c23/t_424_s_046_26/00000010.png": (
            *("Faceshifter", "swap", "FaceForensics++/424"),
        ),
        "fake/FSGAN/youtube_c23/424_355.mp4/424_355_104.png": (
            *("FSGAN", "swap", "FaceForensics++/424"),
        ),
        "fake/AttGAN/celeba/Pale_Skin_951.png": ("celeba_AttGAN", "edit", "celeba_AttGAN/951"),
        "fake/AttGAN/celeba/Male_951.png": ("celeba_AttGAN", "edit", "celeba_AttGAN/951"),
        "fake/starGAN/celeba/1873-images-Male.png": (
            *("celeba_StarGAN", "edit", "celeba_StarGAN/1873"),
        ),
        "real/FF_c23_youtube/424/424_92.png": ("real", "real", "FaceForensics++/424"),
        "real/cat/003807.png": ("real", "real", "real/cat/003807.png"),
    }


def test_osma_refuses_another_folder(tmp_path: Path) -> None:
    touch(tmp_path, "fake/ProGAN/dog/1.png")
    with pytest.raises(UserError, match=r"ProGAN/dog: is no folder of OSMA, such as fake/ProGAN"):
        list(osma.read(str(tmp_path)))


def test_iab_groups_by_prompt_and_takes_the_content_as_source(tmp_path: Path) -> None:
    found = by_id(iab.read(sample_iab(tmp_path)))
    assert [tuple(entry[2:6]) for entry in found.values()] == [
        ("SDXL", "generate", "COCO", "COCO/p7"),
        ("SDXL", "generate", "cat", "cat/p7"),
        ("mid-6.0", "generate", "cat", "cat/p7"),
        ("real", "real", "FFHQ", "real/HumanFace/FFHQ/003638.png"),
    ]
    touch(tmp_path, "notes/x.png")
    with pytest.raises(UserError, match="notes: holds none of AnimalFace, HumanFace, Scene, COCO"):
        list(iab.read(str(tmp_path)))


SIZES = {"df40": (40, 31), "osma": (67, 14), "iab": (22, 11)}  # methods, known ones, of p1


@pytest.mark.parametrize("file", sorted(SIZES))
def test_protocols_have_the_classes_that_the_benchmark_says(file: str) -> None:
    every = [read_protocol(name) for name in names_in(file)]
    assert all("real" in protocol.known for protocol in every)
    num_methods, num_known = SIZES[file]
    assert len(every[0].known) - 1 == num_known
    assert len(every[0].known + every[0].novel) - 1 == num_methods


def test_known_ones_are_labelled_on_one_content_and_tested_on_another(tmp_path: Path) -> None:
    protocol = read_protocol("iab/swapped")
    names = (*protocol.known, *protocol.novel)
    rows = [
        (f"{name}/{content}/{number}", name, content)
        for name in names
        for content in ("FFHQ", "celebahq", "cat")
        for number in range(10)
    ]
    columns = {name: [None] * len(rows) for name in SCHEMA.names}
    columns["id"], columns["class"], columns["source"] = map(list, zip(*rows, strict=True))
    columns["path"] = columns["group"] = columns["id"]
    columns["sha256"] = [f"{number:064x}" for number in range(len(rows))]
    Manifest(pa.table(columns, schema=SCHEMA), "iab:x").write(tmp_path / "images.parquet")
    made = split(
        tmp_path / "images.parquet",
        tmp_path / "split",
        options=SplitOptions(protocol="iab/swapped"),
    )
    contents = {
        role: {name.split("/")[1] for name in made.with_role(role)["id"].to_pylist()}
        for role in ("labelled", "unlabelled", "test")
    }
    assert contents == {"labelled": {"FFHQ"}, "unlabelled": {"celebahq"}, "test": {"celebahq"}}
