"""The published CSV of OW-DFA, and the release's own draw of training images."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from data_set_samples import RELEASE, SWAPS, sample_owdfa, touch
from owdfa.datasets import owdfa
from owdfa.datasets.base import ImageEntry
from owdfa.datasets.owdfa.listing import pandas_sample
from owdfa.errors import UserError
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.stages.split import SplitOptions, split

HEADER = "img_path,label,method,image_source,tag,face_type\n"


def listed(tmp_path: Path, text: str) -> list[ImageEntry]:
    (tmp_path / "list.csv").write_text(text)
    return list(owdfa.read(str(tmp_path / "list.csv")))


def test_the_paths_of_the_authors_machine_are_found_beside_the_csv(tmp_path: Path) -> None:
    unused, *used = owdfa.read(sample_owdfa(tmp_path))
    assert unused.passed_over == "unused in the benchmark, tag 0"
    assert [entry.path for entry in used] == [
        tmp_path / SWAPS / f"c23-000_003-{number}.png" for number in (1, 2)
    ]
    assert used[0] == ImageEntry(
        f"{SWAPS}/c23-000_003-1.png",
        tmp_path / SWAPS / "c23-000_003-1.png",
        "Deepfakes",
        "swap",
        "FaceForensics++",
        "FaceForensics++/000",
    )


@pytest.mark.parametrize(
    ("method", "source", "name", "class_", "family", "group"),
    [
        (
            "Real",
            "FaceForensics++",
            "c23-000-17.png",
            "Youtube-Real",
            "real",
            "FaceForensics++/000",
        ),
        ("Real", "CelebDF", "Celeb-real-id3_0001-7.png", "Celeb-Real", "real", "CelebDF/id3_0001"),
        ("FOMM", "ForgeryNet", "a-b-c-frame001.jpg", "FOMM", "reenact", "ForgeryNet/a-b-c"),
        ("FaceAPP", "DFFD", "train-F_FAP0_012-3.png", "FaceAPP", "edit", "DFFD/FAP0_012"),
        ("StyleGAN2", "ForgeryNIR+", "1.png", "StyleGAN2-ForgeryNIR", "generate", None),
        (
            "StyleGAN2",
            "ForgeryNet",
            "a-frame1.png",
            "StyleGAN2-ForgeryNet",
            "generate",
            "ForgeryNet/a",
        ),
        ("Midjourney", "DF^3", "1.png", "DF3-Midjourney", None, None),
    ],
)
def test_method_and_source_make_the_class_and_the_name_of_a_file_its_group(
    tmp_path: Path, method, source, name, class_, family, group
) -> None:
    path = f"Kind/{method}/x/{name}"
    touch(tmp_path, path)
    real = int(method == "Real")
    (entry,) = listed(tmp_path, f"{HEADER}{RELEASE}/{path},3,{method},{source},2,{real}\n")
    assert (entry.class_, entry.family, entry.group) == (class_, family, group or path)


def test_further_columns_are_left_aside_and_an_image_listed_twice_is_listed_once(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "1.png")
    text = "code,img_path,label,method,image_source,tag,face_type,forgery_type\n"
    row = "x,1.png,0,New,DF3,2.0,0,EntireFaceSyncthesis\n"
    first, second = listed(tmp_path, text + row + row)
    assert (first.class_, first.family) == ("DF3-New", "generate")
    assert second.passed_over == "the same image as in line 2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'img_path'; a CSV of OW-DFA has img_path, label"),
        ("img_path,label,method,image_source,face_type\n", "has no column 'tag'"),
        (HEADER + "1.png,0,a\n", "line 2: 3 cells under 6 columns"),
        (HEADER + "1.png,0,a,b,7,0\n", "line 2: tag is '7'; it must be 0, 1 or 2"),
        (HEADER + " ,0,a,b,1,0\n", "line 2: img_path is empty"),
        (HEADER + '"1.png,0,a,b,1,0\n', "is not CSV"),
    ],
)
def test_what_is_no_such_csv_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        listed(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


RECORDED = {  # DataFrame.sample(frac=, random_state=) of pandas 3.1.1: rows, frac, seed
    (10, 0.8, 1234): [7, 2, 9, 1, 0, 8, 4, 5],
    (13, 0.8, 0): [6, 11, 4, 10, 2, 8, 1, 7, 9, 3],
    (7, 0.5, 2025): [1, 5, 3, 0],
    (1, 0.8, 5): [0],
    (2, 0.8, 5): [0, 1],
}


def test_the_draw_is_that_of_pandas() -> None:
    for (num_rows, frac, seed), drawn in RECORDED.items():
        assert pandas_sample(num_rows, frac, seed).tolist() == drawn
    drawn = repr(pandas_sample(2000, 0.8, 1234).tolist()).encode()
    recorded = "e8e3164ade1f164766afc7f8d87057f87042adba1afefbc1cf0b1539727607c7"
    assert hashlib.sha256(drawn).hexdigest() == recorded


def test_the_draw_is_that_of_the_pandas_of_here(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for num_rows in (1, 5, 99):
        drawn = pandas.DataFrame({"a": range(num_rows)}).sample(frac=0.8, random_state=3)
        assert pandas_sample(num_rows, 0.8, 3).tolist() == drawn["a"].tolist()


CLASSES = (  # method, source, tags of the rows in turn
    ("Deepfakes", "FaceForensics++", "1112"),
    ("FOMM", "ForgeryNet", "1112"),
    ("StyleGAN2", "ForgeryNet", "2220"),
    ("StyleGAN2", "ForgeryNIR+", "2220"),
)


def published(tmp_path: Path, num_rows: int = 40) -> Path:
    """A CSV and a manifest of its images, the rows of the classes mixed."""
    file = tmp_path / "list.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER.strip().split(","))
        for number in range(num_rows):
            for label, (method, source, tags) in enumerate(CLASSES):
                name = f"Kind/{method}/{source}/{7 * number % num_rows}.png"
                tag = tags[number % 4]
                writer.writerow((f"{RELEASE}/{name}", label, method, source, tag, 0))
    entries = [entry for entry in owdfa.read(str(file)) if not entry.passed_over]
    columns = {name: [None] * len(entries) for name in SCHEMA.names}
    for field, name in (
        ("id", "id"),
        ("class_", "class"),
        ("group", "group"),
        ("source", "source"),
    ):
        columns[name] = [getattr(entry, field) for entry in entries]
    columns["path"] = [str(entry.path) for entry in entries]
    columns["sha256"] = [f"{number:064x}" for number in range(len(entries))]
    table = pa.table(columns, schema=SCHEMA).sort_by("id")
    Manifest(table, f"owdfa:{file}").write(tmp_path / "images.parquet")
    return tmp_path / "images.parquet"


KNOWN = ("Deepfakes", "FOMM")


def test_the_paper_rule_takes_roles_from_tags_and_the_draw(tmp_path: Path) -> None:
    options = SplitOptions(known=KNOWN, rule="paper", seed=1234)
    made = split(published(tmp_path), tmp_path / "split", options=options)
    rows = made.table.to_pylist()
    counts = Counter((row["class"], row["role"]) for row in rows)
    for class_ in KNOWN:
        roles = {role: counts[class_, role] for role in ("labelled", "unlabelled", "test")}
        assert roles["labelled"] + roles["unlabelled"] == 32
        assert roles["test"] == 8
    assert counts["StyleGAN2-ForgeryNet", "unlabelled"] == 24
    assert counts["StyleGAN2-ForgeryNet", "test"] == 6
    training = sorted(row["id"] for row in rows if row["role"] in ("labelled", "unlabelled"))
    # by the release's loop over sources and labels, with pandas 3.1.1
    recorded = "bbea8c15577ac9e78ac3dd82e19863e7e830699135ef886f6f2559c34e891351"
    assert hashlib.sha256("\n".join(training).encode()).hexdigest() == recorded
    assert made.basis.rule == "paper"


def test_a_protocol_of_fewer_classes_leaves_the_others_unused(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[a]\nknown = ["FOMM"]\nnovel = ["StyleGAN2-*"]\n')
    options = SplitOptions(protocol=f"{tmp_path}/own.toml", rule="paper")
    made = split(published(tmp_path), tmp_path / "split", options=options)
    roles = {row["role"] for row in made.table.to_pylist() if row["class"] == "Deepfakes"}
    assert roles == {"unused"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"known": ("FOMM",)}, "labels images of 'Deepfakes', which is novel here"),
        ({"validation": 0.1}, "leave out --labelled, --validation"),
        ({"labelled": 0.5}, "leave out --labelled, --validation"),
        ({"seed": -1}, "--seed -1: must be from 0 to 4294967295"),
    ],
)
def test_what_the_publisher_did_not_give_is_refused(
    tmp_path: Path, changed: dict, message: str
) -> None:
    options = SplitOptions(**({"known": KNOWN, "rule": "paper"} | changed))
    with pytest.raises(UserError, match=message) as caught:
        split(published(tmp_path), tmp_path / "split", options=options)
    assert "\n" not in str(caught.value)


def test_a_csv_that_changed_or_went_since_the_scan_is_refused(tmp_path: Path) -> None:
    manifest = published(tmp_path)
    options = SplitOptions(known=KNOWN, rule="paper")
    lines = (tmp_path / "list.csv").read_text().splitlines(keepends=True)
    (tmp_path / "list.csv").write_text("".join(lines[:-9]))
    with pytest.raises(UserError, match=r"does not list 'Kind/.*' of the manifest; scan it again"):
        split(manifest, tmp_path / "split", options=options)
    (tmp_path / "list.csv").unlink()
    with pytest.raises(UserError, match=r"list.csv: cannot be read"):
        split(manifest, tmp_path / "split", options=options)
