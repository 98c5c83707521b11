"""The report of a case with a video: its tracks, their frames and timelines; and verify holds."""

import json
from html import unescape

import numpy as np

from command_line import done
from owdfa.stages.evidence import footage
from small_clips import plain_frames, write_clip
from test_evidence import made, story  # noqa: F401  fixtures
from test_report import Tags


def test_a_video_is_shown_by_its_frames_and_a_timeline_and_can_be_verified(story):  # noqa: F811
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 96, 3), dtype=np.uint8)
    folder = story.run.parent / "clips"
    folder.mkdir()
    cut = write_clip(folder / "cut.mp4", noise, movflags="faststart")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    write_clip(folder / "whole.mp4", plain_frames(*[90] * 12))
    done("attribute", story.run, folder, "-o", story.case)
    page = story.page.with_name("videos.html")
    done("report", story.case, "-o", page)
    text = page.read_text(encoding="utf-8")
    data = json.loads(Tags(text).scripts[0][1])
    found = {each["file"]["path"].split("/")[-1]: each for each in data["inputs"]}
    (verdict,) = found["whole.mp4"]["file"]["verdicts"]
    assert len(verdict["track"]["frames"]) == 6
    assert found["whole.mp4"]["faces"][0]["picture"] is not None
    assert text.count('<svg class="timeline"') == 2
    words = unescape(text)
    assert "h264, 1.2 s; 6 of 12 frames looked at; decoded by PyAV" in words
    assert "Whole frames, seen in 6 frames from 0.0 s to 1.0 s, 6 used; shown at 0.0 s" in words
    assert "decoding ended at" in words
    (line,) = done("verify", page, "--case", story.case).splitlines()
    assert line.startswith(f"{page}: holds: 6 inputs, ")


def test_of_many_tracks_few_have_a_picture(story, monkeypatch):  # noqa: F811
    from owdfa.case import Case

    clip = write_clip(story.run.parent / "a.mp4", plain_frames(*[90] * 4))
    done("attribute", story.run, clip, "-o", story.case)
    item = Case.open(story.case).items()[-1]
    twice = item.verdict.model_copy(update={"verdicts": item.verdict.verdicts * 2})
    monkeypatch.setattr(footage, "MAX_SHOWN", 1)
    first, second = footage.shown_frames(clip, twice, 0.2)
    assert first.size == (96, 64)
    assert second is None
    assert footage.shown_frames(clip.with_name("none.mp4"), twice, 0.2) == [None, None]
