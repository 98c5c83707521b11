from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from owdfa.config import parse_settings
from owdfa.errors import UserError
from owdfa.protocols import describe, natural_sort, read_protocol
from owdfa.records.split import Split
from owdfa.stages.split import SplitOptions, split
from small_manifest import counts, singles, write_manifest

OWN_PROTOCOL = """
[p1]
known = ["real", "a*"]
novel = ["*"]
[ratios]
labelled = 0.5
test = 0.1
[budget]
known = 40
novel = 30
real = 70
real_per_source = 50
"""


@pytest.fixture
def small(tmp_path):
    return write_manifest(tmp_path / "images.parquet", singles(real=20, b=20, c10=20, c9=20))


def test_counts_and_order_of_classes(small, tmp_path):
    options = SplitOptions(known=("real", "c*"), validation=0.25, seed=3)
    made = split(small, tmp_path / "split", options=options)
    assert made.known == ("real", "c9", "c10")
    assert made.novel == ("b",)
    assert counts(made, "c9") == [9, 4, 3, 4, 0]
    assert counts(made, "b") == [0, 16, 0, 4, 0]
    assert Split.read(tmp_path / "split") == replace(
        made, table=Split.read(tmp_path / "split").table
    )


def test_training_sees_no_label_of_an_unlabelled_image(small, tmp_path):
    made = split(small, tmp_path / "split", options=SplitOptions(known=("real",)))
    ids, labels = made.training_rows()
    names = zip(ids.to_pylist(), labels, strict=True)
    assert {id_.split("/")[0] for id_, label in names if label == 0} == {"real"}
    assert sorted(set(labels.tolist())) == [-1, 0]


def test_the_seed_matters(small, tmp_path):
    made = [
        split(small, tmp_path / f"{seed}", options=SplitOptions(known=("real",), seed=seed))
        for seed in (1, 2)
    ]
    assert made[0].digest() != made[1].digest()


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("owdfa40/p1", (33600, 37600, 11200, 6600)),
        ("owdfa40/p2", (26400, 42400, 8800, 8400)),
        ("owdfa40/p3", (45600, 29600, 15200, 3600)),
    ],
)
def test_owdfa40_counts_when_every_class_is_full(tmp_path, protocol, expected):
    known, novel = read_protocol(protocol).known, read_protocol(protocol).novel
    rows = [("REAL", f"real-{i}", ("Celeb-DF", "FF++")[i % 2]) for i in range(20010)]
    for classes, size in ((known[1:], 2003), (novel, 1502)):
        rows += [(class_, f"{class_}-{i}", None) for class_ in classes for i in range(size)]
    manifest = write_manifest(tmp_path / "images.parquet", rows)
    for rule in ("group", "paper"):
        options = SplitOptions(protocol=protocol, rule=rule)
        made = split(manifest, tmp_path / rule, options=options)
        tested = made.with_role("test")
        num_known = pc.sum(pc.is_in(tested["class"], pa.array(made.known))).as_py()
        labelled, unlabelled = (len(made.with_role(role)) for role in ("labelled", "unlabelled"))
        assert (labelled, unlabelled, num_known, len(tested) - num_known) == expected


def test_budget_and_ratios_of_a_protocol(tmp_path):
    sources = ("ff",) * 90 + ("celeb",) * 25
    rows = [("real", f"r{i}", source) for i, source in enumerate(sources)]
    manifest = write_manifest(tmp_path / "images.parquet", rows + singles(a1=50, b=50, a2=10))
    (tmp_path / "my.toml").write_text(OWN_PROTOCOL)
    options = SplitOptions(protocol=f"{tmp_path}/my.toml/p1", test=0.2)
    made = split(manifest, tmp_path / "split", options=options)
    assert made.known == ("real", "a1", "a2")
    assert counts(made, "real") == [28, 28, 0, 14, 45]
    assert counts(made, "a1") == [16, 16, 0, 8, 10]
    assert counts(made, "b") == [0, 24, 0, 6, 20]
    assert made.basis.labelled == 0.5


def test_classes_outside_the_protocol_are_unused(tmp_path, small):
    (tmp_path / "my.toml").write_text('[p1]\nknown = ["real"]\nnovel = ["b"]\n')
    made = split(small, tmp_path / "s", options=SplitOptions(protocol=f"{tmp_path}/my.toml"))
    assert counts(made, "c9") == [0, 0, 0, 0, 20]


def test_images_that_nobody_labelled_are_trained_on_unless_their_group_is_tested(tmp_path):
    rows = [("real", f"video-{i // 2}", None) for i in range(40)]
    rows += [(None, f"video-{i // 2}", None) for i in range(40)] + [(None, "alone", None)]
    manifest = write_manifest(tmp_path / "images.parquet", rows)
    made = split(manifest, tmp_path / "split", options=SplitOptions())
    tested = set(made.with_role("test")["group"].to_pylist())
    for row in made.table.filter(pc.is_null(made.table["class"])).to_pylist():
        assert row["role"] == ("unused" if row["group"] in tested else "unlabelled")
    assert len(tested) == 4


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"known": ["reel"]}, r"--known: no class 'reel'; did you mean 'real'\?"),
        ({"known": []}, "no class is known"),
        ({"labelled": 1.5}, "labelled is 1.5"),
        ({"test": 1.0}, "test is 1; it must lie between"),
        ({"validation": -0.1}, "validation is -0.1"),
        ({"rule": "frame"}, "split: rule: input should be 'group' or 'paper'"),
        ({"protocol": "lap/p1"}, r"no protocol file named 'lap'; did you mean 'lab'\?"),
        ({"protocol": "lab/p9"}, "no protocol named 'lab/p9'; the file has: lab/p1"),
        ({"protocol": "missing.toml"}, "missing.toml: cannot be read as TOML"),
        ({"protocol": "lab/p1"}, r"protocol lab/p1: the manifest has no images of \*-1, swap-2"),
        ({"protocol": "lab/p1", "known": ["real"]}, "give --protocol or --known"),
        ({"known": ["*"], "labelled": 1}, "no image is left unlabelled"),
    ],
)
def test_errors(small, tmp_path, given_, said):
    with pytest.raises(UserError, match=said):
        split(small, tmp_path / "split", options=parse_settings(SplitOptions, given_, "split"))
    assert not (tmp_path / "split").exists()


@pytest.mark.parametrize(
    "rows", [singles(real=9, b=1), [*singles(real=9), *[("b", "v", None)] * 7]]
)
def test_a_known_class_too_small_to_test_on(tmp_path, rows):
    manifest = write_manifest(tmp_path / "images.parquet", rows)
    with pytest.raises(UserError, match="known class 'b' has too few groups"):
        split(manifest, tmp_path / "split")


def test_a_class_of_two_images_is_enough(tmp_path):
    manifest = write_manifest(tmp_path / "images.parquet", singles(real=9, b=2))
    assert counts(split(manifest, tmp_path / "split"), "b") == [1, 0, 0, 1, 0]


def test_no_class_no_image_and_an_image_twice(tmp_path):
    empty = write_manifest(tmp_path / "none.parquet", singles(real=1), order=[])
    with pytest.raises(UserError, match="lists no usable image"):
        split(empty, tmp_path / "split")
    nameless = write_manifest(tmp_path / "nameless.parquet", [(None, "g", None)])
    with pytest.raises(UserError, match="no image has a class"):
        split(nameless, tmp_path / "split")
    twice = write_manifest(tmp_path / "twice.parquet", singles(real=3), order=[0, 1, 1])
    with pytest.raises(UserError, match=r"'real/000001.png' is listed twice"):
        split(twice, tmp_path / "split")


def test_a_setting_that_protocols_do_not_have(tmp_path, small):
    (tmp_path / "my.toml").write_text('[p1]\nknown = ["real"]\nnovell = ["b"]\n')
    with pytest.raises(UserError, match=r"my.toml/p1: .*no setting 'novell'; did you mean 'novel'"):
        split(small, tmp_path / "s", options=SplitOptions(protocol=f"{tmp_path}/my.toml/p1"))


def test_another_split_is_not_replaced(small, tmp_path):
    place, options = tmp_path / "split", SplitOptions(known=("real",), seed=1)
    first = split(small, place, options=options)
    assert split(small, place, options=options).digest() == first.digest()
    with pytest.raises(UserError, match="holds another split; remove it or choose another folder"):
        split(small, place, options=SplitOptions(known=("real",), seed=2))
    assert Split.read(place).basis.seed == 1
    with pytest.raises(UserError, match="is a file"):
        split(small, small, options=options)


def test_every_protocol_of_the_library_is_described():
    names = [name for name, _ in describe()]
    assert "lab/p1" in names
    for name in names:
        assert read_protocol(name).known


def test_natural_sort():
    assert natural_sort(["s10", "s2", "real", "s2b", "S1"]) == ["S1", "real", "s2", "s2b", "s10"]


def test_importing_the_stage_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, owdfa.stages.split; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "False"
