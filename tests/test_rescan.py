"""Rescan: what changes in old verdicts with another run, why, and which verdict holds then."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from command_line import cli, done, refused
from owdfa.attribution.attributor import Attributor
from owdfa.case import Case, check
from owdfa.case.review import open_review
from owdfa.errors import UserError
from owdfa.inference.predictor import Predictor
from owdfa.inference.session import BatchOutput, no_ratios
from owdfa.records.calibration import Calibration, Threshold
from owdfa.records.verdict import (
    Alternative,
    Box,
    Outcome,
    Track,
    TrackFrame,
    Variant,
)
from owdfa.runs.settings import load_settings
from owdfa.stages import rescan as stage
from owdfa.stages.attribute import attribute
from owdfa.stages.discover import DiscoverOptions, discover
from owdfa.stages.rescan import RescanOptions, rescan
from owdfa.stages.rescan.reasons import Group, Side, explain, pair_faces
from owdfa.stages.review import Reviewer
from owdfa.stages.train import train
from small_case import ATTRIBUTION, CALIBRATION, PROVENANCE, attributed
from small_groups import sha, write_squares
from tiny_data import DRIFT, make_data

KEEP = RescanOptions(keep=True, jobs=1)
LIMITS = {"class": 0.8, "family": 0.7, "novel": 0.75, "forged": 0.6, "real": 0.9}
FIRST = ("real", "swap", "novel-01")
SECOND = ("real", "swap", "FaceForge 2", "novel-01")
SAYS = {  # rows of probabilities by the colour that is strongest
    "first": {"red": (0.02, 0.08, 0.90), "green": (0.96, 0.03, 0.01), "blue": (0.02, 0.95, 0.03)},
    "second": {
        "red": (0.02, 0.03, 0.93, 0.02),
        "green": (0.96, 0.02, 0.01, 0.01),
        "blue": (0.10, 0.70, 0.10, 0.10),
    },
}


def calibration(known, weights="cd" * 32, **limits):
    thresholds = tuple(
        Threshold(
            statement=name, threshold=limit, budget=0.01, bound=0.01, confidence=0.95,
            num_groups=300, num_wronged=0, recall=0.5,
        )
        for name, limit in {**LIMITS, **limits}.items()
    )  # fmt: skip
    provenance = PROVENANCE.model_copy(update={"weights_digest": weights})
    changes = {"known": known, "thresholds": thresholds, "temperature": 1.0,
               "families": {"swap": "swap"}, "provenance": provenance}  # fmt: skip
    return CALIBRATION.model_copy(update=changes)


class SaysByColour:
    """Says what stands in ``SAYS`` of the colour that is strongest."""

    engine, batch_size = "test 1", 4

    def __init__(self, says):
        self.says = np.array([says[name] for name in ("red", "green", "blue")], np.float32)

    def predict_batch(self, crops):
        colours = crops.mean(axis=(1, 2)).astype(np.float32) - 125
        return BatchOutput(self.says[colours.argmax(axis=1)], colours, no_ratios(colours))


@pytest.fixture
def networks(monkeypatch):
    """Two networks, of which the second knows a type more."""
    found = {}
    for name, classes, weights in (("first", FIRST, "cd" * 32), ("second", SECOND, "ef" * 32)):
        made = calibration(classes[:-1], weights)
        found[name] = Predictor(
            source=Path(name), classes=classes, num_known=len(classes) - 1, faces="none",
            store_size=16, session=SaysByColour(SAYS[name]), provenance=made.provenance,
            calibration=made,
        )  # fmt: skip
    monkeypatch.setattr(Predictor, "open", lambda run, **_: found[Path(run).name])
    return found


@pytest.fixture
def case(networks, tmp_path):
    """Red squares of no known type, blue ones of one, green ones like the real images."""
    for colour, num in (("red", 7), ("green", 3), ("blue", 2)):
        write_squares(tmp_path / "photos", colour, range(num))
    attribute("first", [tmp_path / "photos"], tmp_path / "case")
    return Case.open(tmp_path / "case")


def name_reds(case, name="FaceForge 2"):
    """Group the red squares, and name them; the id of their group."""
    (group,) = discover(case.folder, run="first", options=DiscoverOptions(jobs=1)).clusters
    reviewer = Reviewer(case.folder, who="ann")
    reviewer.move([f"red-{number:02d}.png" for number in range(7)], group.id)
    reviewer.name(group.id, name)
    case.journal.reload()
    return group.id


def example(found, kind):
    """The first verdict of the commonest change of a kind."""
    return next(found.examples[move] for move, _ in found.moves.most_common() if move.kind == kind)


def read_table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def outcomes(case):
    """Outcome by name of the file."""
    items = Case.open(case.folder).items()
    return {Path(item.verdict.path).stem: item.verdict.outcome.label for item in items}


def test_a_type_that_was_named_is_known_to_the_next_run_and_the_reason_says_so(case, tmp_path):
    group = name_reds(case)
    before = {path: path.read_bytes() for path in case.folder.rglob("*") if path.is_file()}
    found = rescan(case.folder, "second", output=tmp_path / "changes.csv")
    assert found.kinds == {"named": 7, "same": 3, "probability": 2}
    assert (found.num_files, found.num_changed, found.missing) == (12, 9, [])
    named = example(found, "named")
    assert found.moves["named", "novel", "known:FaceForge 2"] == 7
    assert (named.before, named.now, named.group) == (
        "novel:novel-01", "known:FaceForge 2", group
    )  # fmt: skip
    assert named.reason == (
        f"novel:novel-01 before; its group {group} was named 'FaceForge 2' by ann, and is a"
        " known type of this run"
    )
    assert example(found, "probability").reason == (
        "type 'swap': probability 0.95 (needed: 0.80) before, 0.70 (needed: 0.80) now"
    )
    assert {path: path.read_bytes() for path in case.folder.rglob("*") if path.is_file()} == before
    rows = read_table(tmp_path / "changes.csv")
    assert [row["change"] for row in rows].count("named") == 7
    assert len(rows) == 12
    assert rows[0]["sha256"] == sha(Path(rows[0]["path"]))


def test_what_is_kept_holds_and_what_was_before_stays(case):
    group = name_reds(case)
    earlier, num = outcomes(case), len(case.entries)
    found = rescan(case.folder, "second", options=KEEP, command=["owdfa", "rescan"])
    assert found.kept
    now = outcomes(case)
    assert (earlier["red-00"], now["red-00"]) == ("novel:novel-01", "known:FaceForge 2")
    again = Case.open(case.folder)
    assert [entry.what for entry in again.entries[num:]] == ["attributed", "rescanned"]
    data = again.entries[-1].data
    assert data["changes"] == {"named": 7, "same": 3, "probability": 2}
    assert (data["files"], data["missing"], data["weights"]) == (12, 0, "ef" * 32)
    assert {(item.seq, item.earlier) for item in again.items()} == {(num + 1, (2,))}
    assert outcomes_until(again, num) == earlier  # as the journal has it
    assert check(case.folder) == []
    assert open_review(again).state.groups[group].name == "FaceForge 2"
    assert len(Reviewer(case.folder).show("FaceForge 2").paths) == 7
    table = read_table(case.folder / "verdicts.csv")
    assert [row["outcome"] for row in table].count("known:FaceForge 2") == 7
    assert rescan(case.folder, "second").kinds == {"same": 12}
    assert rescan(case.folder, "first").kinds == {"forgotten": 7, "same": 3, "probability": 2}


def outcomes_until(case, line):
    items = case.items(line)
    return {Path(item.verdict.path).stem: item.verdict.outcome.label for item in items}


def test_a_promoted_group_is_said_and_one_of_another_name_too(case):
    group, reviewer = name_reds(case), Reviewer(case.folder)
    reviewer.case.record("promoted", {"classes": {"FaceForge 2": 7}})
    assert "by ann, promoted, and" in example(rescan(case.folder, "second"), "named").reason
    reviewer.name(group, "Other")
    found = rescan(case.folder, "second")
    assert found.kinds["learnt"] == 7
    assert example(found, "learnt").reason == (
        f"type 'FaceForge 2' is not known to the earlier run; its group {group} is named 'Other'"
    )


def test_files_that_are_gone_or_others_keep_their_verdicts_and_are_listed(case, tmp_path):
    photos = tmp_path / "photos"
    (photos / "red-00.png").unlink()
    shutil.copy(photos / "green-00.png", photos / "red-01.png")
    found = rescan(case.folder, "second", options=KEEP, output=tmp_path / "changes.csv")
    assert [(Path(path).name, reason) for path, reason in found.missing] == [
        ("red-00.png", f"is not at {photos / 'red-00.png'}"),
        ("red-01.png", "is another file by now"),
    ]
    assert found.num_files == 10
    now = outcomes(case)
    assert (now["red-00"], now["red-02"]) == ("novel:novel-01", "known:FaceForge 2")
    assert len(now) == 12
    rows = read_table(tmp_path / "changes.csv")
    assert [row["reason"] for row in rows if not row["change"]][1] == "is another file by now"
    shutil.rmtree(photos)
    with pytest.raises(UserError, match=r"none of its 12 inputs is where it was; put the files"):
        rescan(case.folder, "second", options=KEEP, output=tmp_path / "other.csv")
    assert not (tmp_path / "other.csv").exists()
    assert Case.open(case.folder).entries[-1].what == "rescanned"


def test_copies_in_the_case_are_looked_at_where_the_files_are_gone(networks, tmp_path):
    write_squares(tmp_path / "photos", "red", range(2))
    options = stage.AttributeOptions(copy_files=True)
    attribute("first", [tmp_path / "photos"], tmp_path / "case", options=options)
    shutil.rmtree(tmp_path / "photos")
    assert rescan(tmp_path / "case", "second", options=KEEP).kinds == {"learnt": 2}
    assert len(Case.open(tmp_path / "case").items()) == 2


def test_a_case_that_moved_alone_replaces_its_verdicts(case, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    photos = tmp_path / "photos"
    case.folder.rename(tmp_path / "far" / "away" / "case")
    (tmp_path / "far" / "away" / "photos").symlink_to(photos)
    moved = Case.open(tmp_path / "far" / "away" / "case")
    assert rescan(moved.folder, "second", options=KEEP).num_files == 12
    assert len(Case.open(moved.folder).items()) == 12


def test_verdicts_are_added_some_at_a_time(case, monkeypatch):
    monkeypatch.setattr(stage, "_PART", 5)
    progress = []
    rescan(case.folder, "second", options=KEEP, on_progress=lambda *each: progress.append(each))
    assert progress == [(5, 12), (10, 12), (12, 12)]
    added = [e for e in Case.open(case.folder).entries if e.what == "attributed"]
    assert [len(entry.data["files"]) for entry in added] == [12, 5, 5, 2]
    assert len(Case.open(case.folder).items()) == 12


def test_what_is_looked_at_is_what_was(case, networks, tmp_path):
    options = stage.AttributeOptions(min_size=40, min_quality=77)
    attribute("first", [tmp_path / "photos" / "red-00.png"], case.folder, options=options)
    seen = []
    whole = Attributor.open

    def opening(run, options=None):
        seen.append((options.min_size, options.min_quality))
        return whole(run, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attributor, "open", opening)
        found = rescan(case.folder, "second")
    assert seen == [(None, 30), (40, 77)]
    assert found.kinds["same"] == 4  # too small, as before
    assert found.num_files == 12


def test_a_case_without_a_verdict_is_refused(tmp_path):
    Case.create(tmp_path / "case")
    with pytest.raises(UserError, match="holds no verdict; owdfa attribute adds some"):
        rescan(tmp_path / "case", "second")


# The reasons, one by one.

BOX = Box(left=0, top=0, right=10, bottom=10, score=1.0)


def side(kind, name=None, *, sure=None, likely=(), made=None, **changes):
    """A verdict, and what it rests on."""
    (verdict,) = attributed(Path("none")).verdict.verdicts
    alternatives = tuple(
        Alternative(name=each, novel=each.startswith("novel-"), probability=p) for each, p in likely
    )
    reason = changes.pop("reason", "unsure" if kind == "inconclusive" else None)
    outcome = Outcome(kind=kind, name=name, reason=reason, detail=changes.pop("detail", None))
    update = {"outcome": outcome, "probability": sure, "alternatives": alternatives, **changes}
    return Side(verdict.model_copy(update=update), made or rests_on())


def rests_on(known=("real", "swap"), limits=None, **changes):
    made = calibration(known, **(limits or {}))
    return ATTRIBUTION.model_copy(
        update={"classes": (*known, "novel-01"), "num_known": len(known), "calibration": made,
                **changes}
    )  # fmt: skip


UNSTABLE = (
    Variant(change="jpeg-75", outcome=Outcome(kind="novel"), probability=0.6),
    Variant(change="half-size", outcome=Outcome(kind="known", name="swap"), probability=0.6),
)
WITH_X = rests_on(("real", "swap", "x"))
STRICT = rests_on(limits={"class": 0.97})


@pytest.mark.parametrize(
    ("before", "now", "kind", "reason"),
    [
        (side("novel", "novel-01"), side("novel", "novel-07"), "same", ""),
        (side("known", "swap"), side("known", "swap"), "same", ""),
        (side("novel"), side("known", "x", made=WITH_X), "learnt", "type 'x' is not known to the"),
        (side("known", "x", made=WITH_X), side("novel"), "forgotten", "is not known to this run"),
        (
            side("known", "x", made=WITH_X), side("known", "swap", sure=0.9),
            "probability", "type 'swap': probability 0.00 (needed: 0.80) before, 0.90",
        ),
        (
            side("inconclusive", likely=[("swap", 0.9)], made=STRICT),
            side("known", "swap", sure=0.9),
            "threshold", "probability 0.90 (needed: 0.97) before, 0.90 (needed: 0.80) now",
        ),
        (
            side("known", "swap", sure=0.9), side("inconclusive", likely=[("swap", 0.5)]),
            "probability", "probability 0.90 (needed: 0.80) before, 0.50 (needed: 0.80) now",
        ),
        (
            side("known", "swap", sure=0.9),
            side("inconclusive", likely=[("swap", 0.9)], reason="unstable", detail="why"),
            "stability", "0.90 (needed: 0.80) now; why",
        ),
        (
            side("known", "swap", sure=0.9),
            side("family", "forged", likely=[("swap", 0.9)], stability=UNSTABLE),
            "stability", "now; novel after jpeg-75",
        ),
        (
            side("known", "swap", sure=0.9), side("inconclusive", likely=[("swap", 0.9)]),
            "threshold", "not surely enough that it is not real",
        ),
        (
            side("inconclusive", likely=[("novel-01", 0.4), ("novel-02", 0.2)]),
            side("novel", likely=[("novel-01", 0.8)]),
            "probability", "like no known type: probability 0.60 (needed: 0.75) before, 0.80",
        ),
        (
            side("family", "swap", sure=0.8), side("family", "forged", likely=[("swap", 0.6)]),
            "probability", "family 'swap': probability 0.80 (needed: 0.70) before, 0.60",
        ),
        (
            side("real-consistent", sure=0.95), side("inconclusive", likely=[("real", 0.7)]),
            "probability", "like the real images: probability 0.95 (needed: 0.90) before, 0.70",
        ),
        (
            side("family", "forged", sure=0.9),
            side("inconclusive", made=rests_on().model_copy(
                update={"calibration": CALIBRATION.model_copy(update={"real": ()})})),
            "forgotten", "this run never says 'not real'",
        ),
        (
            side("inconclusive"), side("inconclusive", reason="unstable", detail="swap, but"),
            "stability", "swap, but",
        ),
        (
            side("not-applicable", reason="too-small", detail="40 px, less than 64",
                 made=rests_on(min_size=64)),
            side("novel", made=rests_on(min_size=32, faces="centerface")),
            "rule", "40 px, less than 64; faces by none before, centerface now; least size 64"
            " pixels before, 32 now",
        ),
        (
            Side(None, rests_on(faces="dlib")), side("novel", made=rests_on(faces="centerface")),
            "rule", "a face that was found now alone; faces by dlib before, centerface now",
        ),
        (side("novel"), Side(None, rests_on()), "rule", "found by the earlier run alone"),
    ],
)  # fmt: skip
def test_each_reason(before, now, kind, reason):
    found = explain(before, now, None)
    assert found.kind == kind
    assert reason in found.reason
    assert bool(found.reason) == (kind != "same")


def test_a_group_of_another_name_is_no_reason_for_a_type_that_both_know():
    group = Group("novel-aaaa", "swap", "ann", promoted=False)
    found = explain(side("novel"), side("known", "swap", sure=0.9), group)
    assert found.kind == "probability"


def test_faces_are_matched_by_where_they_are():
    def at(left, **changes):
        box = BOX.model_copy(update={"left": left, "right": left + 10})
        return side("novel", box=box, blur=float(left), **changes).verdict

    whole = side("novel").verdict
    near, far, moved = at(0), at(50), at(2)
    assert pair_faces([near, far], [at(51), moved]) == [(near, moved), (far, at(51))]
    assert pair_faces([near], [far]) == [(near, None), (None, far)]
    assert pair_faces([whole], [whole]) == [(whole, whole)]
    assert pair_faces([whole], [near, far]) == [(whole, near), (None, far)]
    assert pair_faces([near, moved], [near]) == [(near, near), (moved, None)]


def test_tracks_are_matched_by_their_common_frames():
    def track(*lefts):
        frames = tuple(
            TrackFrame(
                time=0.2 * number,
                box=BOX.model_copy(update={"left": left, "right": left + 10}),
                probability=None,
            )
            for number, left in enumerate(lefts)
        )
        made = Track(shown=0.0, num_used=len(frames), frames=frames)
        return side("novel", box=frames[0].box, track=made).verdict

    still, moving = track(0, 0, 0), track(0, 50, 90)
    now = [track(0, 50, 91), track(0, 0, 1)]
    assert pair_faces([still, moving], now) == [(still, now[1]), (moving, now[0])]


# With runs that were trained, on the command line.


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs of other seeds, and a case by the first."""
    folder = tmp_path_factory.mktemp("rescan")
    data = make_data(folder / "data")
    for seed, name in ((0, "first"), (1, "second"), (2, "plain")):
        overrides = [*DRIFT, "epochs=2", "classes=4", f"seed={seed}"]
        train(data.split, folder / name, settings=load_settings(None, None, overrides))
    (folder / "plain" / "calibration.json").unlink()
    for name, limit in (("first", 0.0), ("second", 1.0)):
        made = Calibration.read(folder / name)
        limits = calibration(made.known, **dict.fromkeys(LIMITS, limit)).thresholds
        made.model_copy(update={"thresholds": limits, "real": ("real",)}).write(folder / name)
    write_squares(folder / "inputs", "red", range(2))
    write_squares(folder / "inputs", "blue", range(2))
    (folder / "inputs" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done("attribute", folder / "first", folder / "inputs", "-o", folder / "case")
    done("report", folder / "case", "-o", folder / "before.html")
    return folder


@pytest.fixture
def story(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "all")
    return tmp_path / "all"


def test_report_and_verify_hold_on_a_case_that_was_rescanned(story):
    case = story / "case"
    printed = done("rescan", case, "--run", story / "second", "-o", story / "changes.csv")
    assert "4  another threshold" in printed
    assert "1  the same" in printed
    assert "-> inconclusive (unsure), such as " in printed
    last = printed.splitlines()[-1]
    assert f"{case}: 5 files by {story / 'second'}: 4 of 5 verdicts are others" in last
    assert "nothing was changed; --keep adds the new verdicts to the case" in last
    assert Case.open(case).entries[-1].what == "attributed"
    assert "hold now" in done("rescan", case, "--run", story / "second", "--keep", "--jobs", "1")
    ended = cli("verify", story / "before.html", "--case", case)  # the earlier verdicts, as stated
    assert ended.status == 0, ended.stdout
    assert "before.html: of 5 inputs the case has later verdicts, which hold now (up to line 3" in (
        " ".join((ended.stdout + ended.stderr).split())
    )
    done("report", case, "-o", story / "after.html")
    ended = cli("verify", story / "after.html", "--case", case)
    assert ended.status == 0, ended.stdout
    assert "later verdicts" not in ended.stdout + ended.stderr
    page = (story / "after.html").read_text()
    assert "of line 2 of the journal: they no longer hold" in page
    assert "4 of 5 verdicts are others by ../second" in page
    assert page.count('"kind":"inconclusive"') >= 4


def test_a_run_that_is_not_calibrated_is_refused_in_a_line(story):
    line = refused("rescan", story / "case", "--run", story / "plain")
    assert f"is not calibrated, so it gives no verdicts; run owdfa calibrate {story}" in line
    line = refused("rescan", story / "inputs", "--run", story / "second")
    assert "case.json: no such file; a case" in line
    other = story / "other.csv"
    other.write_text("mine\n")
    line = refused("rescan", story / "case", "--run", story / "second", "-o", other)
    assert "other.csv" in line
    assert other.read_text() == "mine\n"


def test_what_the_command_says_of_missing_files(story):
    (story / "inputs" / "red-00.png").unlink()
    printed = done("rescan", story / "case", "--run", story / "second")
    assert f"left out: {story}" not in printed.splitlines()[-1]
    assert "red-00.png: is not at " in printed
    assert "4 files by" in printed
    assert "1 left out: 3 of 4 verdicts are others" in printed
    assert json.loads((story / "case" / "case.json").read_text())["schema"]
