"""OW-DFA from the data sets that it is made of."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from command_line import cli, done, refused
from owdfa.datasets import owdfa
from owdfa.datasets.owdfa import BuildOptions
from owdfa.datasets.owdfa.sources import evenly
from owdfa.errors import UserError
from owdfa.records.split import Split
from owdfa_sources import make_sources


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_sources(tmp_path_factory.mktemp("sources"))


def options(roots: dict[str, Path], *without: str) -> list[str]:
    chosen = {name: root for name, root in roots.items() if name not in without}
    return [part for name, root in chosen.items() for part in (f"--{name}", str(root))]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_all_sources_give_all_classes_and_every_protocol(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    shown = done("data", "build", "owdfa", "-o", tmp_path, *options(roots))
    assert all(f"owdfa/p{number}: can be used" in shown for number in (1, 2, 3, 4))
    rows = rows_of(tmp_path / "owdfa.csv")
    counts = Counter((row["method"], row["image_source"], row["tag"]) for row in rows)
    assert len({key[:2] for key in counts}) == 24
    assert counts["Deepfakes", "FaceForensics++", "1"] == 8, "75 % of 2 frames of 5 videos"
    assert counts["Deepfakes", "FaceForensics++", "2"] == 2
    assert counts["FaceSwap", "FaceForensics++", "2"] == 8
    assert counts["FaceSwap", "FaceForensics++", "0"] == 2
    assert counts["Real", "FaceForensics++", "1"] == 11, "of all 15 frames, fewer than 20 a video"
    assert counts["Real", "CelebDF", "2"] == 10, "a number, not a share, of Celeb-DF is used"
    assert counts["FaceAPP", "DFFD", "1"] == 10, "13 images, none of the masks"
    assert counts["Midjourney", "DF3", "1"] == 6
    assert counts["StableDiffusion", "DF3", "2"] == 6
    assert "8 of 1500" in shown
    assert all(Path(row["img_path"]).is_file() for row in rows)
    labels = {(row["method"], row["image_source"]): int(row["label"]) for row in rows}
    known = {labels[key[:2]] for key in counts if key[2] == "1"}
    assert known == set(range(10)), "known classes come first"


def test_frames_are_in_order_of_their_numbers_and_evenly_spaced(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    owdfa.build(tmp_path, {"ffpp": roots["ffpp"]})
    rows = rows_of(tmp_path / "owdfa.csv")
    frames = {Path(row["img_path"]).stem for row in rows if row["method"] == "Deepfakes"}
    assert frames == {"0", "10"}
    paths = [Path(str(number)) for number in range(11)]
    assert [path.name for path in evenly(paths, 3)] == ["0", "5", "10"]
    assert evenly([], 3) == []


def test_forgeries_of_a_video_and_the_video_are_one_group(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    owdfa.build(tmp_path, {"ffpp": roots["ffpp"], "dffd": roots["dffd"]})
    groups: dict[str, set[str]] = {}
    for row in rows_of(tmp_path / "owdfa.csv"):
        groups.setdefault(row["group"], set()).add(row["method"])
    assert groups["FaceForensics++/003"] == {
        *("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "Real")
    }
    edits = [row for row in rows_of(tmp_path / "owdfa.csv") if row["group"] == "DFFD/FAP0_0"]
    assert len(edits) == 2


def test_what_is_built_does_not_depend_on_where_the_sources_lie(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "moved").symlink_to(roots["forgerynir"])
    built = [
        owdfa.build(tmp_path / str(number), {"forgerynir": root}).file
        for number, root in enumerate((roots["forgerynir"], tmp_path / "moved"))
    ]
    drawn = [[(row["id"], row["tag"]) for row in rows_of(file)] for file in built]
    assert drawn[0] == drawn[1]
    other = owdfa.build(tmp_path, {"forgerynir": tmp_path / "moved"}, options=BuildOptions(seed=1))
    assert [(row["id"], row["tag"]) for row in rows_of(other.file)] != drawn[0]


def test_large_is_five_times_as_much(roots: dict[str, Path], tmp_path: Path) -> None:
    built = owdfa.build(tmp_path, {"ffpp": roots["ffpp"]}, options=BuildOptions(large=True))
    (swaps,) = (each for each in built.classes if each.name == "Deepfakes")
    assert swaps.expected_labelled == 7500
    assert swaps.labelled + swaps.unlabelled == 15, "all three frames of five videos"


def test_a_missing_source_is_said_plainly(roots: dict[str, Path], tmp_path: Path) -> None:
    shown = done("data", "build", "owdfa", "-o", tmp_path, *options(roots, "celebdf", "df3"))
    assert "missing without --celebdf: Celeb-Real" in shown
    assert "missing without --df3: the AI-generated classes of OW-DFA++" in shown
    assert "--known" not in shown, "a protocol can be used"
    assert "owdfa/p1: can be used" in shown
    assert "owdfa/p2: lacks Celeb-Real" in shown
    shown = done("data", "build", "owdfa", "-o", tmp_path, *options(roots, "dffd"))
    assert "missing without --dffd: FaceAPP, PGGAN, StyleGAN, StarGAN" in shown
    assert "--known Deepfakes,Face2Face,Youtube-Real,DeepFaceLab," in shown
    assert "owdfa/p1: lacks FaceAPP, StyleGAN, StarGAN, PGGAN" in shown


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("ffpp", "manipulated_sequences/<method>/c23/images/<video>/<frame>"),
        ("celebdf", "images/Celeb-real/<video>/<frame>"),
        ("forgerynet", "image_list.txt with a path and three labels a line"),
        ("dffd", "faceapp/, pggan_v2/, stylegan_ffhq/ or stargan/"),
        ("forgerynir", "lists/ForgeryNIR-mix_multi.txt"),
        ("df3", "a folder a generator"),
    ],
)
def test_another_layout_is_refused_by_naming_what_was_expected(
    option: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    line = refused("data", "build", "owdfa", "-o", tmp_path, f"--{option}", tmp_path / "other")
    assert expected in line
    assert "other" in line
    line = refused("data", "build", "owdfa", "-o", tmp_path, f"--{option}", tmp_path / "gone")
    assert f"no such folder; --{option} is that of" in line
    assert not (tmp_path / "owdfa.csv").exists()


def test_no_source_two_folders_of_frames_and_a_list_of_another_kind(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    assert "at least one source: --ffpp, --celebdf" in refused(
        "data", "build", "owdfa", "-o", tmp_path
    )
    for name in ("images", "images_v1"):
        (tmp_path / f"celebdf/{name}/Celeb-real").mkdir(parents=True)
    with pytest.raises(UserError, match="images and images_v1 both hold frames"):
        owdfa.build(tmp_path, {"celebdf": tmp_path / "celebdf"})
    (tmp_path / "image_list.txt").write_text("a.jpg 1\n")
    with pytest.raises(UserError, match=r"image_list.txt, line 1: 'a.jpg 1' is no path with three"):
        owdfa.build(tmp_path, {"forgerynet": tmp_path})


def test_a_file_of_another_kind_is_not_replaced(roots: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "owdfa.csv").write_text("path,class\n")
    with pytest.raises(UserError, match="is not what this command writes there"):
        owdfa.build(tmp_path, {"forgerynir": roots["forgerynir"]})


@pytest.mark.parametrize("rule", ["group", "paper"])
def test_from_the_sources_to_a_split(roots: dict[str, Path], tmp_path: Path, rule: str) -> None:
    done("data", "build", "owdfa", "-o", tmp_path, *options(roots))
    source = f"owdfa:{tmp_path / 'owdfa.csv'}"
    done("data", "scan", source, "-o", tmp_path / "images.parquet", "--jobs", "1")
    for protocol, num_classes in (("p1", 20), ("p2", 22), ("p4", 24)):
        split = tmp_path / protocol
        ended = cli(
            *("split", tmp_path / "images.parquet", "--protocol", f"owdfa/{protocol}"),
            *("--rule", rule, "-o", split),
        )
        assert ended.status == 0, ended.stderr
        made = Split.read(split)
        assert len(made.known) + len(made.novel) == num_classes
        assert made.num_images()["labelled"] > 0
        groups = {
            frozenset(made.with_role(role)["group"].to_pylist()) for role in ("test", "unlabelled")
        }
        shared = frozenset.intersection(*groups)
        assert bool(shared) == (rule == "paper")
