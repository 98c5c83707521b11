"""Video files: which frames are given, how they are turned, and what becomes of damaged files."""

import sys

import numpy as np
import pytest

from owdfa.images import video as module
from owdfa.images.decode import BadImageError
from owdfa.images.video import frames_at, is_video, open_video
from small_clips import plain_frames, write_clip, write_sound


def read(path, interval=0.2):
    """Times and frames of a file, and what is noted of it."""
    with open_video(path) as video:
        frames = list(video.frames(interval))
        return [round(frame.time, 3) for frame in frames], frames, video


def test_the_first_frame_of_each_interval_is_given(tmp_path):
    path = write_clip(tmp_path / "a.mp4", plain_frames(*range(0, 200, 20)))
    times, frames, video = read(path)
    assert times == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert (video.format, video.codec, video.num_frames, video.notes) == ("MOV", "h264", 10, [])
    for frame, level in zip(frames, range(0, 200, 40), strict=True):
        assert np.abs(frame.pixels[40, 60].astype(int) - [level, 90, 90]).max() <= 6
    assert len(read(path, 0.001)[0]) == 10
    assert read(path, 60)[0] == [0.0]


def test_a_variable_frame_rate_is_sampled_by_time(tmp_path):
    stamps = [0, 30, 60, 90, 500, 530, 1900, 1950]
    path = write_clip(tmp_path / "a.mkv", plain_frames(*range(8)), stamps)
    assert read(path)[0] == [0.0, 0.5, 1.9]


def test_time_runs_from_the_first_frame(tmp_path):
    path = write_clip(tmp_path / "a.mkv", plain_frames(*range(4)), [5000, 5100, 5200, 5300])
    assert read(path)[0] == [0.0, 0.2]


def test_times_never_go_back():
    clock = module._Clock(0.1)
    stamps = [7.0, 7.5, None, 7.5, 1.0, 8.0]
    assert [round(clock.time_of(each), 3) for each in stamps] == [0.0, 0.5, 0.6, 0.7, 0.8, 1.0]


# Where the white corner goes, as (row, column), by the matrix (a, b, c, d) in the file.
TURNS = {
    (1, 0, 0, 1): (0, 0),
    (0, 1, -1, 0): (0, -1),  # a quarter clockwise
    (-1, 0, 0, -1): (-1, -1),
    (0, -1, 1, 0): (-1, 0),
    (-1, 0, 0, 1): (0, -1),  # mirrored
    (1, 0, 0, -1): (-1, 0),
    (0, 1, 1, 0): (0, 0),
    (0, -1, -1, 0): (-1, -1),
}


@pytest.mark.parametrize("turn", TURNS)
def test_frames_are_turned_and_mirrored_as_the_file_says(tmp_path, turn):
    path = write_clip(tmp_path / "a.mp4", plain_frames(0, 0))
    data = bytearray(path.read_bytes())
    matrix = data.find(b"tkhd") + 4 + 40  # version 0: 40 bytes stand before the matrix
    a, b, c, d = (int(each * 65536).to_bytes(4, "big", signed=True) for each in turn)
    data[matrix : matrix + 20] = a + b + bytes(4) + c + d
    path.write_bytes(data)
    pixels = read(path)[1][0].pixels
    assert pixels.shape[:2] == ((96, 64) if turn[1] else (64, 96))
    corners = {(i, j): int(pixels[i, j].min()) for i in (0, -1) for j in (0, -1)}
    assert max(corners, key=corners.get) == TURNS[turn]
    assert corners[TURNS[turn]] > 230
    assert sorted(corners.values())[2] < 40


def test_pyav_s_own_rotation_is_followed(tmp_path):
    path = write_clip(
        tmp_path / "a.mp4", plain_frames(0), prepare=lambda stream: stream.set_display_rotation(90)
    )
    assert read(path)[1][0].pixels[-1, 0].min() > 230


@pytest.mark.parametrize("space", [1, 5])
def test_colours_are_those_that_the_file_names(tmp_path, space):
    def prepare(stream):
        stream.codec_context.colorspace = space

    frames = [np.full((64, 64, 3), (200, 30, 60), np.uint8)]
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        prepare(stream)
        frame = av.VideoFrame.from_ndarray(frames[0], "rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=space)
        frame.colorspace = space
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert np.abs(read(path)[1][0].pixels[32, 32].astype(int) - [200, 30, 60]).max() <= 4


def test_of_a_recording_that_was_cut_off_what_decodes_is_used(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 96, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "a.mp4", noise, movflags="faststart")
    whole = read(path)[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    times, _, video = read(path)
    assert 2 < len(times) < len(whole)
    assert times == whole[: len(times)]
    assert any("decoding ended at" in note and "of 3.0 s" in note for note in video.notes)


def test_damage_in_the_middle_is_left_out_and_said(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 96, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "a.mp4", noise)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = b"\xff" * 4000
    path.write_bytes(data)
    times, _, video = read(path)
    assert len(times) > 10
    assert video.notes == [f"{30 - video.num_frames} damaged frames were left out"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sound.m4a", "holds no video"),
        ("empty.mp4", "cannot be opened as a video"),
        ("nothing.avi", "holds no frame that can be decoded"),
        ("cut.mp4", "cannot be opened as a video"),
        ("encrypted.mp4", "unknown or encrypted kind"),
    ],
)
def test_what_is_no_video_has_a_reason(tmp_path, name, reason):
    path = tmp_path / name
    if name == "sound.m4a":
        write_sound(path)
    elif name == "empty.mp4":
        path.touch()
    elif name == "nothing.avi":
        data = write_clip(path, plain_frames(0), codec="mpeg4").read_bytes()
        path.write_bytes(data[: data.find(b"movi") + 4])
    else:
        data = write_clip(path, plain_frames(*range(5))).read_bytes()
        end = data.rfind(b"moov")
        path.write_bytes(data[:end] if name == "cut.mp4" else data.replace(b"avc1", b"encv"))
    with pytest.raises(BadImageError, match=reason):
        read(path)


def test_content_says_what_a_video_is(tmp_path):
    kinds = {"mp4": "libx264", "mkv": "libx264", "avi": "mpeg4", "ts": "libx264"}
    kinds |= {"webm": "libvpx", "mpg": "libx264", "wmv": "wmv2", "flv": "flv"}
    for suffix, codec in kinds.items():
        path = tmp_path / f"a.{suffix}"
        write_clip(path, plain_frames(*range(30)), codec=codec, times=range(0, 1200, 40))
        assert is_video(path.rename(tmp_path / f"{suffix}.jpg")), suffix
        assert read(tmp_path / f"{suffix}.jpg")[0][0] == 0.0, suffix
    (tmp_path / "b.mp4").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    assert not is_video(tmp_path / "b.mp4")
    assert not is_video(tmp_path / "none.mp4")
    assert not is_video(tmp_path)


def test_a_playlist_opens_no_other_file(tmp_path):
    write_clip(tmp_path / "a.ts", plain_frames(1), times=[0])
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(BadImageError, match="cannot be opened as a video"):
        read(path)


def test_frames_are_found_again_by_their_times(tmp_path):
    path = write_clip(tmp_path / "a.mp4", plain_frames(*range(0, 200, 20)))
    frames = read(path)[1]
    some = [frames[3], frames[1]]
    again = list(frames_at(path, [round(each.time, 6) for each in some], 0.2))
    for one, other in zip(again, reversed(some), strict=True):
        assert one.time == other.time
        assert np.array_equal(one.pixels, other.pixels)
    with pytest.raises(BadImageError, match="no frame at 99"):
        list(frames_at(path, [0.2, 99], 0.2))


def test_no_more_than_so_many_frames_are_given(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_FRAMES", 3)
    path = write_clip(tmp_path / "a.mp4", plain_frames(*range(9)))
    times, _, video = read(path)
    assert times == [0.0, 0.2, 0.4]
    assert "only the first 1 s were looked at; a larger --frame-interval" in video.notes[0]


def test_frames_of_too_many_pixels_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 64 * 96 - 1)
    with pytest.raises(BadImageError, match="96 x 64 pixels are not looked at"):
        read(write_clip(tmp_path / "a.mp4", plain_frames(1)))


def test_without_pyav_the_remedy_is_named(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", plain_frames(1))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadImageError, match=r"pip install 'owdfa\[video\]'"):
        read(path)
