"""Discover, review and promote: from a pile of unknown images to the classes of the next round."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from command_line import done, refused
from owdfa.case import Case, Journal, check
from owdfa.case.review import ConflictError, open_review
from owdfa.inference.predictor import Predictor
from owdfa.records.clusters import Clusters
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.records.split import Split
from owdfa.runs.settings import load_settings
from owdfa.stages import discover as stage
from owdfa.stages.discover import DiscoverOptions, discover
from owdfa.stages.promote import promote
from owdfa.stages.review import Reviewer
from owdfa.stages.train import train
from small_groups import add, predictor, sha, squares_case, write_squares
from tiny_data import CLASSES, DRIFT, SIDE, make_data


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """One that sees colours; its weights may be others."""
    found = {"weights": "cd" * 32}
    monkeypatch.setattr(Predictor, "open", lambda *a, **k: predictor(found["weights"]))
    return found


@pytest.fixture
def case(tmp_path):
    """Red and green squares of no known type, and blue ones that are known."""
    return squares_case(tmp_path)


def made(case, **options):
    return discover(case.folder, run=case.folder, options=DiscoverOptions(jobs=1, **options))


def of(case, found, colour):
    """The group of most images of a colour."""
    names = {sha(path) for path in (case.folder.parent / "photos").glob(f"{colour}*")}
    return max(found.clusters, key=lambda each: len(names & set(each.members)))


def test_images_without_a_known_type_are_grouped_and_described(case):
    found = made(case)
    red, green = (of(case, found, each) for each in ("red", "green"))
    assert (len(red.members), len(green.members)) == (12, 9)
    assert (found.num_images, found.num_alone, found.num_missing) == (21, 0, 0)
    assert red.lineage.change == "new"
    assert red.stability > 0.8
    assert red.confidence == pytest.approx(0.8)
    assert (red.nearest.name, red.nearest.probability) == ("swap", pytest.approx(0.2))
    assert len(red.central) == 6
    assert set(red.borderline) <= set(red.members) - set(red.central)
    shared = {(each.what, each.value): (each.share, each.elsewhere) for each in red.traits}
    assert shared["format", "JPEG"] == (1.0, 0.0)
    assert shared["size", "32 x 32"] == (1.0, 1.0)
    assert red.traits[0].elsewhere == 0.0  # what sets it apart comes first
    assert Clusters.model_validate_json(found.model_dump_json(by_alias=True)) == found
    assert check(case.folder) == []


def test_ids_names_and_decisions_survive_another_run_and_more_images(case, network):
    first = made(case)
    red, green = of(case, first, "red"), of(case, first, "green")
    reviewer = Reviewer(case.folder, who="ann")
    reviewer.name(red.id, "FaceForge 2")
    stray = "photos/green-00.png"
    reviewer.move([str(case.folder.parent / stray)], red.id)
    reviewer.reject(green.id)
    add(case, write_squares(case.folder.parent / "photos", "red", range(20, 26), suffix="jpg"))
    network["weights"] = "ef" * 32  # trained again
    again = made(case, seed=1)
    assert {each.id for each in again.clusters} == {red.id, green.id}
    now = of(case, again, "red")
    assert (now.id, now.name, now.named.who) == (red.id, "FaceForge 2", "ann")
    assert (now.lineage.change, now.lineage.num_before) == ("grew", 13)
    assert len(now.members) == 19
    assert sha(case.folder.parent / stray) in now.held
    assert len(now.held) == 13
    assert of(case, again, "green").rejected.who == "ann"
    assert len(list((case.folder / "features").iterdir())) == 2
    assert check(case.folder) == []
    case.journal.reload()
    assert open_review(case).done == ()


def test_who_saw_the_groups_before_they_were_made_anew_is_told(case):
    red = of(case, made(case), "red")
    case.journal.reload()
    reviewer = Reviewer(case.folder, head=case.head)
    made(case, seed=1)
    with pytest.raises(ConflictError, match="found 2 groups of 21 images; nothing was done"):
        reviewer.name(red.id, "X")


def test_a_crash_before_the_journal_has_the_groups_leaves_those_before(case, monkeypatch):
    first = made(case)
    red = of(case, first, "red")
    Reviewer(case.folder).name(red.id, "X")
    add(case, write_squares(case.folder.parent / "photos", "red", range(20, 24), suffix="jpg"))
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            made(case)
    assert Reviewer(case.folder).show("X").group.members == set(red.members)
    assert check(case.folder) == []
    assert len(of(case, made(case), "red").members) == 16


def test_embeddings_are_made_once(case, network, monkeypatch):
    made(case)
    (kept,) = (case.folder / "features").iterdir()
    before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    add(case, write_squares(case.folder.parent / "photos", "green", range(20, 23)))
    found = made(case)
    assert len(of(case, found, "green").members) == 12
    after = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert len(after) == 2
    assert after.items() >= before.items()


def test_files_that_were_lost_are_counted(case):
    (case.folder.parent / "photos" / "red-03.jpg").unlink()
    (case.folder.parent / "photos" / "red-04.jpg").write_bytes(b"another")
    found = made(case)
    assert found.num_missing == 2
    assert len(of(case, found, "red").members) == 10


def test_novel_types_of_the_run_are_groups_too(case):
    found = made(case, by="types")
    assert [len(each.members) for each in found.clusters] == [21]


def test_a_group_is_split_in_the_two_that_it_consists_of(case):
    (whole,) = made(case, by="types").clusters
    Reviewer(case.folder).split(whole.id)
    case.journal.reload()
    assert sorted(len(g.members) for g in open_review(case).state.groups.values()) == [9, 12]


def manifest_of(folder, rows):
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    Manifest(table, "folder:x", folder / "store").write(folder / "images.parquet")
    return folder / "images.parquet"


def test_named_groups_become_classes_of_the_next_manifest(case, tmp_path):
    found = made(case)
    red = of(case, found, "red")
    reviewer = Reviewer(case.folder, who="ann")
    reviewer.name(red.id, "FaceForge 2")
    unlabelled = tmp_path / "photos" / "red-05.jpg"
    rows = [{"id": f"real/{n}.png", "path": "x", "class": "real", "family": "real",
             "group": str(n), "sha256": f"{n:064d}"} for n in range(3)]  # fmt: skip
    rows.append({"id": "u.jpg", "path": str(unlabelled), "group": "u", "sha256": sha(unlabelled)})
    base = manifest_of(tmp_path, rows)
    out = promote(case.folder, tmp_path / "next.parquet", manifest=base, who="bob")
    assert out.classes == {"FaceForge 2": 12}
    assert (out.filled, out.missing, out.num_rows) == (1, 0, 4 + 11)
    assert out.commands[0].endswith(f" -o {tmp_path / 'store'} --faces none --size 16 --fit resize")
    assert [each.split()[1] for each in out.commands] == ["data", "split", "train", "rescan"]
    assert Case.open(case.folder).entries[-1].data["next"] == out.commands
    new = Manifest.read(tmp_path / "next.parquet")
    assert new.store == tmp_path / "store"
    by_id = {row["id"]: row for row in new.table.to_pylist()}
    assert list(by_id) == sorted(by_id)
    assert by_id["real/1.png"]["class"] == "real"
    assert by_id["u.jpg"]["class"] == "FaceForge 2"
    row = by_id[f"case-{case.id}/{sha(tmp_path / 'photos' / 'red-00.jpg')}.jpg"]
    assert row["source"] == f"case {case.id}, {red.id}, named by ann"
    assert row["path"] == str(tmp_path / "photos" / "red-00.jpg")
    case.journal.reload()
    assert case.entries[-1].what == "promoted"
    assert case.entries[-1].data["manifest"] == new.digest()


def test_a_class_that_the_manifest_has_otherwise_is_named_with_the_remedy(case, tmp_path):
    red = of(case, made(case), "red")
    Reviewer(case.folder).name(red.id, "FaceForge 2")
    photo = tmp_path / "photos" / "red-05.jpg"
    base = manifest_of(tmp_path, [{"id": "a", "class": "swap", "sha256": sha(photo)}])
    line = refused("promote", case.folder, "-o", tmp_path / "next.parquet", "--manifest", base)
    assert "named 'FaceForge 2', and of class 'swap' in the manifest" in line
    same = refused("promote", case.folder, "-o", base, "--manifest", base)
    assert "is the manifest to add to" in same
    command = line.split("owdfa review ")[1].split(" takes")[0].split()
    done("review", *command)
    done("promote", case.folder, "-o", tmp_path / "next.parquet", "--manifest", base)


def test_the_whole_way_by_the_command_line(case, tmp_path):
    folder = case.folder
    printed = done("discover", folder, "--run", folder, "--jobs", "1")
    assert "2 groups of 21 images without a known type, 0 in none; head " in printed
    case.journal.reload()
    red, green = (of(case, open_review(case).clusters, each) for each in ("red", "green"))
    head = case.head[:12]
    assert f"head {head}" in done("review", folder, "list")
    assert done("review", folder) == done("review", folder, "list")
    assert "named" in done("review", folder, "name", red.id, "FaceForge 2", "--head", head)
    line = refused("review", folder, "reject", red.id, "--head", head)
    assert f'named {red.id} "FaceForge 2"; nothing was done' in line
    photo = tmp_path / "photos" / "green-01.png"
    done(
        "review",
        folder,
        "split",
        green.id,
        "green-00.png",
        photo,
        sha(tmp_path / "photos" / "green-02.png")[:9],
    )
    done("review", folder, "undo")
    done("review", folder, "redo")
    done("review", folder, "note", "FaceForge 2", "same banner")
    shown = done("review", folder, "show", "FaceForge 2")
    assert "12 images, 12 of them held by review" in shown
    assert '"same banner"' in shown
    assert "format JPEG: 100% (0% of other groups)" in shown
    state = open_review(Case.open(folder)).state
    (new,) = state.groups.keys() - {red.id, green.id}
    done("review", folder, "merge", green.id, new)
    done("review", folder, "move", "green-03.png", "green-04.png", red.id)
    done("review", folder, "reject", green.id)
    assert "(rejected)" in done("review", folder)
    log = done("review", folder, "log").splitlines()
    assert len(log) == 9
    base = manifest_of(tmp_path, [{"id": "a", "class": "real", "sha256": "0" * 64}])
    printed = done("promote", folder, "-o", tmp_path / "n.parquet", "--manifest", base)
    assert "FaceForge 2: 14 images" in printed
    assert f"owdfa data prepare {tmp_path / 'n.parquet'} -o {tmp_path / 'store'}" in printed
    assert "promoted FaceForge 2" in done("review", folder, "log")


def test_what_the_user_can_fix_is_one_line(case, tmp_path, monkeypatch):
    folder = case.folder
    line = refused("review", folder, "list")
    assert f"has no groups yet; run owdfa discover {folder}" in line
    line = refused("promote", folder, "-o", tmp_path / "n.parquet")
    assert f"no group has a name, so there is no class; owdfa discover {folder}" in line
    assert "no such file" in refused("review", tmp_path / "none", "list")
    (tmp_path / "runs" / "first").rmdir()
    assert "name it with --run" in refused("discover", folder)
    assert "by: " in refused("discover", folder, "--by", "colour")
    line = refused("discover", folder, "--run", folder, "--min-size", "50")
    assert "21 of 29 images have no known type, and a group needs 50" in line
    with monkeypatch.context() as patch:
        patch.setattr(stage, "dense_groups_among", lambda rows, *_: np.full(len(rows), -1))
        line = refused("discover", folder, "--run", folder, "--jobs", "1")
    assert "no group among 21 images; lower --min-size (5)" in line
    found = made(case)
    red = of(case, found, "red").id
    line = refused("review", folder, "name", red[:-1], "X")
    assert f"no such group; did you mean '{red}'" in line
    line = refused("review", folder, "move", "red-99.jpg", red)
    assert "red-99.jpg: no such image in the case" in line
    line = refused("promote", folder, "-o", tmp_path / "n.parquet")
    assert f"owdfa review {folder} name novel-" in line
    line = refused("review", folder, "name", red, " ")
    assert "a name needs some text" in line


def test_an_empty_case_has_nothing_to_group(tmp_path):
    empty = Case.create(tmp_path / "case")
    assert "0 of 0 images have no known type" in refused("discover", empty.folder)


def test_crops_are_kept_and_the_next_split_knows_the_new_class(case, tmp_path):
    for name, colour, numbers in (
        ("real", "blue", range(50, 60)),
        ("swap", "green", range(50, 60)),
    ):
        (tmp_path / "classes").mkdir(exist_ok=True)
        write_squares(tmp_path / "classes" / name, colour, numbers)
    base, store = tmp_path / "images.parquet", tmp_path / "store"
    done("data", "scan", f"folder:{tmp_path / 'classes'}", "-o", base, "--jobs", "1")
    size = ("--faces", "none", "--size", "16", "--jobs", "1")
    done("data", "prepare", base, "-o", store, *size)
    before = (store / "pixels.bin").read_bytes()
    red = of(case, made(case), "red")
    Reviewer(case.folder).name(red.id, "FaceForge 2")
    out = tmp_path / "images2.parquet"
    printed = done("promote", case.folder, "-o", out, "--manifest", base)
    (command,) = (line.split() for line in printed.splitlines() if "owdfa data prepare" in line)
    done(*command[1:], "--jobs", "1")
    after = (store / "pixels.bin").read_bytes()
    assert after.startswith(before)
    assert len(after) == 32 * 16 * 16 * 3
    done("split", out, "-o", tmp_path / "split2")
    assert "FaceForge 2" in Split.read(tmp_path / "split2").known


def test_a_run_of_ones_own_is_found_with_what_it_was_trained_on(tmp_path, monkeypatch):
    """Nothing in it is made up: trained, calibrated, attributed, grouped, promoted, split."""
    monkeypatch.undo()
    data = make_data(tmp_path / "data", per_class=40)
    run = train(
        data.split, tmp_path / "run", settings=load_settings(None, None, [*DRIFT, "epochs=1"])
    ).folder
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.fromfile(data.store / "pixels.bin", np.uint8).reshape(-1, SIDE, SIDE, 3)
    for number in range(len(CLASSES) * 40):
        Image.fromarray(pixels[number]).save(photos / f"{number:03d}.png")
    folder = tmp_path / "case"
    done("attribute", run, photos, "-o", folder, "--min-size", "8", "--copy")
    for photo in photos.iterdir():
        photo.unlink()  # what attribute kept of them is enough
    for copy in (folder / "inputs").iterdir():
        copy.rename(photos / f"{copy.name}.away")
    done("discover", folder, "--jobs", "1", "--parts", "2")
    for copy in photos.iterdir():
        copy.rename(folder / "inputs" / copy.stem)
    ids = list(open_review(Case.open(folder)).state.groups)
    assert ids
    done("review", folder, "name", ids[0], "warped")
    printed = done("promote", folder, "-o", tmp_path / "images2.parquet")
    monkeypatch.chdir(tmp_path)
    commands = [line.split()[1:] for line in printed.splitlines() if line.startswith("  owdfa")]
    assert [command[0] for command in commands] == ["data", "split", "train", "rescan"]
    done(*commands[1])
    split, first = Split.read(tmp_path / "images2-split"), Split.read(data.split)
    assert "warped" in split.known
    held = set(first.with_role("test")["id"].to_pylist())
    assert held <= set(split.with_role("test")["id"].to_pylist())  # --like
    assert commands[2][-4:] == ["--from", str(run), "-o", str(tmp_path / "run-2")]
    done("discover", folder, "--jobs", "1", "--parts", "2")
    assert ids[0] in open_review(Case.open(folder)).state.groups
