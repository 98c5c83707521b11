"""Verdicts of videos: tracks, what their frames say together, and what is left of bad files."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from command_line import done, refused
from owdfa.attribution import video
from owdfa.attribution.subjects import Subject
from owdfa.attribution.video import attribute_files
from owdfa.calibration.pooling import pooled, pooled_coverage, pooled_set
from owdfa.images import faces
from owdfa.images.boxes import Box
from owdfa.images.video import open_video
from owdfa.inference.lists import ImageFile
from owdfa.metrics.likelihood_ratios import evidence
from owdfa.records.verdict import FileVerdict
from small_clips import plain_frames, write_clip, write_sound
from test_attribute import attributor, many, plain, run  # noqa: F401  fixtures


def verdicts(given, *paths):
    files = [ImageFile(path.name, str(path)) for path in paths]
    return [verdict for _, verdict in attribute_files(given, files)]


def test_frames_are_pooled_by_their_mean():
    rows = np.random.default_rng(0).dirichlet(np.ones(4), 7).astype(np.float32)
    expected = [sum(float(row[c]) for row in rows) / 7 for c in range(4)]
    assert pooled(rows) == pytest.approx(expected)
    for subset in ([0], [1, 2], [0, 3]):
        assert pooled(rows)[subset].sum() <= rows[:, subset].sum(axis=1).max() + 1e-7


def test_a_class_is_in_the_set_where_it_is_in_those_of_half_the_frames():
    rows = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.3]])
    expected = []
    for c in range(2):
        frames_with_it = sum(1 - row[c] <= 0.5 for row in rows)
        expected.append(frames_with_it >= len(rows) / 2)
    assert pooled_set(rows, 0.5).tolist() == expected == [True, False]
    assert pooled_coverage(0.9) == pytest.approx(0.8)
    assert pooled_coverage(0.4) == 0


def test_the_set_of_a_source_covers_as_often_as_promised():
    random = np.random.default_rng(0)
    share = random.beta(0.1, 0.9, 4000)  # of each source's frames lack their class: 0.1 on average
    lacking = random.random((4000, 9)) < share[:, None]
    kept = [pooled_set(1.0 - row[:, None], 0.5)[0] for row in lacking.astype(float)]
    assert np.mean(kept) >= pooled_coverage(1 - lacking.mean())


def test_whole_frames_are_one_track(attributor, tmp_path):  # noqa: F811
    path = write_clip(tmp_path / "a.mp4", plain_frames(*[40] * 10))
    (found,) = verdicts(attributor, path)
    (verdict,) = found.verdicts
    assert found.outcome.label == "known:swap-a"
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.format, found.width, found.height) == ("MOV", 96, 64)
    assert (found.video.num_frames, found.video.num_sampled) == (10, 5)
    assert verdict.box is None
    assert [each.time for each in verdict.track.frames] == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert [each.probability for each in verdict.track.frames] == pytest.approx([0.95] * 5)
    assert "5 frames from 0.0 s to 0.8 s" in verdict.sentence
    assert verdict.prediction_set.coverage == pytest.approx(0.8)
    assert FileVerdict.model_validate_json(found.model_dump_json(by_alias=True)) == found


def test_frames_that_disagree_are_one_witness_not_many(attributor, tmp_path):  # noqa: F811
    levels = [40, 40, 40, 40, 200, 200, 200, 200, 200, 200]  # swap-a twice, then nothing sure
    (found,) = verdicts(attributor, write_clip(tmp_path / "a.mp4", plain_frames(*levels)))
    (verdict,) = found.verdicts
    said = attributor.predictor.session.SAYS
    rows = [said[1], said[1], said[5], said[5], said[5]]
    forged = sum(row[1:].sum() for row in rows) / 5  # 0.692: above its threshold, 0.6
    swap_a = sum(row[1] for row in rows) / 5  # 0.62: below 0.8
    assert swap_a < 0.8
    assert verdict.outcome.label == "family:forged"
    assert verdict.probability == pytest.approx(forged)
    singly = [row[1:].sum() for row in rows]
    assert [each.probability for each in verdict.track.frames] == pytest.approx(singly)


class Script:
    """Finds what it is told, by the red level of the last row."""

    def __init__(self, boxes):
        self.boxes = boxes

    def detect(self, rgb):
        return self.boxes[round(rgb[-1, :, 0].mean() / 20)]


@pytest.fixture
def scripted(attributor, monkeypatch):  # noqa: F811
    """An attributor whose detector finds ``boxes[i]`` in frames of level 20 i."""

    def make(*boxes):
        monkeypatch.setitem(faces._DETECTORS, "test", lambda: Script(boxes))
        monkeypatch.setattr(faces, "_OWN", type(faces._OWN)())
        return replace(
            attributor, rule=attributor.rule._replace(faces="test", needs_face=True), jobs=2
        )

    return make


def test_each_face_that_is_followed_has_a_verdict_and_a_timeline(scripted, tmp_path):
    def at(left, side=20):
        return Box(left, 20, left + side, 20 + side, 1.0)

    given = scripted([at(0)], [at(60, 24), at(4)], [at(8, 28)], [at(60, 8), at(10)], [])
    path = write_clip(tmp_path / "a.mp4", plain_frames(0, 20, 40, 60, 80), range(0, 1000, 200))
    (found,) = verdicts(given, path)
    first, second, third = found.verdicts
    assert [[f.time for f in v.track.frames] for v in (first, second, third)] == [
        [0.0, 0.2, 0.4, 0.6], [0.2], [0.6],
    ]  # fmt: skip
    assert [each.box.left for each in first.track.frames] == [0, 4, 8, 10]
    assert (first.box.left, first.size, first.track.shown) == (8, 28, 0.4)
    assert "This is of one frame, at 0.2 s" in second.sentence
    assert third.outcome.reason == "too-small"
    assert third.track.num_used == 0
    assert third.track.frames[0].probability is None


def test_frames_with_too_small_a_face_are_not_used(scripted, tmp_path):
    def at(side):
        return Box(40 - side // 2, 30 - side // 2, 40 + side // 2, 30 + side // 2, 1.0)

    given = scripted([at(14)], [at(20)], [at(18)])
    path = write_clip(tmp_path / "a.mp4", plain_frames(0, 20, 40), range(0, 600, 200))
    (verdict,) = verdicts(given, path)[0].verdicts
    assert [each.probability is None for each in verdict.track.frames] == [True, False, False]
    assert verdict.track.num_used == 2
    assert verdict.size == 20


def test_a_video_without_a_face_says_so(scripted, tmp_path):
    path = write_clip(tmp_path / "a.mp4", plain_frames(0, 0, 0))
    (verdict,) = verdicts(scripted([]), path)[0].verdicts
    assert verdict.outcome.reason == "no-face"
    assert "no face in 2 frames" in verdict.outcome.detail
    assert verdict.track is None


def test_the_file_s_outcome_is_that_of_its_surest_accusing_track(scripted, tmp_path, monkeypatch):
    left, right = Box(0, 0, 32, 40, 1.0), Box(60, 20, 96, 60, 1.0)
    frames = list(plain_frames(*[0] * 4))
    for pixels in frames:
        pixels[20:50, 50:] = (40, 90, 90)
    given = scripted([left, right])
    (found,) = verdicts(given, write_clip(tmp_path / "a.mp4", frames))
    assert [each.outcome.label for each in found.verdicts][1] == "known:swap-a"
    assert found.outcome.label == "known:swap-a"


def test_a_verdict_that_re_encoding_changes_is_unstable(attributor, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(video, "variants", lambda subject, rule: {"half-size": 0 * subject.crop})
    path = write_clip(tmp_path / "a.mp4", plain_frames(*[40] * 5))
    (verdict,) = verdicts(attributor, path)[0].verdicts
    assert verdict.outcome.reason == "unstable"
    assert "known:swap-a, but real-consistent after half-size" in verdict.outcome.detail
    swap_a = [each.probability for each in verdict.track.frames]  # the first alternative
    assert swap_a == pytest.approx([0.95, 0.95, 0.95])


@pytest.mark.parametrize("count", [1, 16, 17, 100, 1000])
def test_few_crops_are_changed_and_they_lie_evenly(count, monkeypatch):
    monkeypatch.setattr(video, "variants", lambda subject, rule: subject.crop)
    track = video._Sightings(Subject(None, 32, None, None, None), 0.0)
    for i in range(count):
        track.add(0.1 * i, Subject(None, 32, np.array(i), None, None), None)
    assert min(count, 8) <= len(track.kept) <= 16
    assert [int(each) for each in track.kept] == list(range(0, count, track.stride))
    assert track.num_used == count


def test_what_is_kept_of_a_video_does_not_grow_with_its_tracks(scripted, tmp_path):
    boxes = [Box(8 * i, 0, 8 * i + 20, 20, 1.0) for i in (0, 3, 6, 9)]
    given = scripted(*([box] for box in boxes))
    frames = plain_frames(*[20 * (i % 4) for i in range(20)])
    path = write_clip(tmp_path / "a.mp4", frames, range(0, 12000, 600))
    reading = video._Reading(given)
    most = 0
    with open_video(path) as opened:
        for seen in video._look(opened, given):
            reading.add(seen)
            most = max(most, len(reading._open))
    assert len(reading.verdicts()) == 20
    assert most == 2


def test_whole_frames_count_where_no_frame_has_a_face(scripted, tmp_path):
    face = Box(0, 20, 30, 50, 1.0)
    given = scripted([], [face], [])
    given = replace(given, rule=given.rule._replace(needs_face=False))
    mixed = write_clip(tmp_path / "a.mp4", plain_frames(0, 20, 40), range(0, 600, 200))
    (verdict,) = verdicts(given, mixed)[0].verdicts
    assert verdict.box is not None
    without = write_clip(tmp_path / "b.mp4", plain_frames(0, 40), range(0, 400, 200))
    (verdict,) = verdicts(given, without)[0].verdicts
    assert verdict.box is None
    assert verdict.track.num_used == 2


def test_likelihood_ratios_of_frames_are_their_geometric_mean(attributor, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(attributor.predictor.session, "ratios", True, raising=False)
    path = write_clip(tmp_path / "a.mp4", plain_frames(40, 40, 80), range(0, 600, 200))
    (verdict,) = verdicts(attributor, path)[0].verdicts
    said = attributor.predictor.session.SAYS
    means = np.mean([np.log10(said[i] / 0.01) for i in (1, 1, 2)], axis=0)
    expected = evidence(means[None], np.array([1]), 3)
    assert verdict.ratio_class == "swap-a"
    assert verdict.log10_ratio == pytest.approx(float(expected.known[0]), abs=1e-5)


def test_images_and_videos_come_in_order_and_content_says_which(attributor, tmp_path):  # noqa: F811
    image = plain(tmp_path / "a.mp4.png", 40)
    clip = write_clip(tmp_path / "b.mp4", plain_frames(0, 0))
    image, clip = image.rename(tmp_path / "a.mp4"), clip.rename(tmp_path / "b.png")
    found = verdicts(attributor, clip, image, clip)
    assert [each.path for each in found] == ["b.png", "a.mp4", "b.png"]
    assert [each.video is None for each in found] == [False, True, False]
    assert [each.outcome.label for each in found][1:] == ["known:swap-a", "real-consistent"]


def test_the_interval_is_an_option_and_part_of_what_verdicts_rest_on(attributor, tmp_path):  # noqa: F811
    path = write_clip(tmp_path / "a.mp4", plain_frames(*[40] * 10))
    made = attributor.attribution.model_copy(update={"frame_interval": 0.5})
    assert made.digest != attributor.attribution.digest
    (found,) = verdicts(replace(attributor, attribution=made), path)
    assert found.video.num_sampled == 2
    assert found.attribution == made.digest


def test_what_cannot_be_used_has_a_reason(attributor, tmp_path):  # noqa: F811
    write_sound(tmp_path / "sound.m4a")
    cut = write_clip(tmp_path / "cut.mp4", plain_frames(0, 0))
    cut.write_bytes(cut.read_bytes()[:200])
    found = verdicts(attributor, tmp_path / "sound.m4a", cut)
    assert [each.outcome.reason for each in found] == ["undecodable"] * 2
    assert "holds no video" in found[0].outcome.detail
    assert "cannot be opened as a video" in found[1].outcome.detail
    assert found[1].sha256 == hashlib.sha256(cut.read_bytes()).hexdigest()
    assert found[1].video is None


def test_large_frames_are_searched_by_fewer_threads(attributor, tmp_path, monkeypatch):  # noqa: F811
    seen = []
    monkeypatch.setattr(video, "threaded_map", lambda f, items, jobs: seen.append(jobs) or ())
    monkeypatch.setattr(video, "_MAX_BYTES", 2 * 2 * 3 * 96 * 64)
    path = write_clip(tmp_path / "a.mp4", plain_frames(0))
    for jobs in (1, 2, 64):
        verdicts(replace(attributor, jobs=jobs), path)
    assert seen == [1, 2, 2]


def test_the_command_line_takes_videos_and_folders_of_them(run, tmp_path):  # noqa: F811
    folder = tmp_path / "folder"
    folder.mkdir()
    write_clip(folder / "clip.mov", plain_frames(*[0] * 5))
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 96, 3), dtype=np.uint8)
    cut = write_clip(folder / "cut.mp4", noise, movflags="faststart")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    write_clip(folder / ".hidden.mp4", plain_frames(0))
    plain(folder / "photo.png", 0)
    (folder / "notes.txt").write_text("no image")
    printed = done("attribute", run, folder, "-o", tmp_path / "case", "--frame-interval", "0.1")
    text = (tmp_path / "case/verdicts.jsonl").read_text()
    lines = [FileVerdict.model_validate_json(line) for line in text.splitlines()]
    assert [each.path for each in lines] == [
        f"{folder}/{name}" for name in ("photo.png", "clip.mov", "cut.mp4")
    ]
    assert lines[1].video.num_sampled == 5
    assert "2 other files passed over" in printed
    assert "cut.mp4: decoding ended at" in printed.replace("\n", " ")
    write_sound(tmp_path / "sound.m4a")
    line = refused("attribute", run, tmp_path / "sound.m4a", "-o", tmp_path / "other")
    assert "holds no video" in line
    assert not (tmp_path / "other").exists()
    clip = folder / "clip.mov"
    line = refused("attribute", run, clip, "-o", tmp_path / "other", "--frame-interval", "0")
    assert "frame_interval" in line
