"""The one place that opens video files: frames by time stamp, upright, one at a time.

    with open_video(path) as video:
        for frame in video.frames(0.2):
            frame.time, frame.pixels

PyAV decodes (the extra ``video``). The first video stream counts; a cover picture is none. Time
runs from the first frame. Of each interval the first frame is given, if there is one, so a variable
frame rate needs no care. Frames are turned and mirrored as the file says. What cannot be decoded is
left out, and ``Video.notes`` says so: a recording that was cut off still shows something.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from stat import S_ISREG
from types import SimpleNamespace
from typing import Any, NamedTuple, final

import numpy as np

from owdfa.images.decode import MAX_PIXELS, MIN_SIDE, BadImageError
from owdfa.images.quiet import in_one_line
from owdfa.signatures import VIDEO, identify_file

MAX_FRAMES = 3000
"""Frames that are given of a video, at most; at five a second, ten minutes."""

_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegvideo,mpegts,asf,ogg"
_HD = 720  # from this height on, colours of which nothing is said are those of BT.709
_BT709, _UNSPECIFIED, _BT601 = 1, 2, 5
_MICROSECOND = 1e-6
_LATE = 0.5  # seconds that may be missing at the end of a stream


class Frame(NamedTuple):
    """A frame of a video."""

    time: float  # seconds since the first frame
    pixels: np.ndarray  # (H, W, 3) uint8 RGB, upright


@final
class Video:
    """An open video file; see ``open_video``.

    Attributes:
        format: Of the file, e.g. ``"MOV"``.
        codec: E.g. ``"h264"``.
        duration: In seconds, as the file says; None where it does not.
        size: Width and height as stored, as the file says.
        num_frames: Frames that were decoded so far.
        notes: What was left out; complete when ``frames`` has come to its end.
    """

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self.path = path
        self.format = str(container.format.name).split(",")[0].upper()
        self.codec = str(stream.codec_context.name)
        self.duration = _duration(container, stream)
        self.size = (int(stream.codec_context.width), int(stream.codec_context.height))
        self.num_frames = 0
        self.notes: list[str] = []
        self._container, self._stream = container, stream
        self._num_damaged = 0

    def frames(self, interval: float) -> Iterator[Frame]:
        """The first frame of each ``interval`` seconds.

        Raises:
            BadImageError: There is none that can be decoded.
        """
        clock = _Clock(float(1 / (self._stream.average_rate or 25)))
        due = num_given = 0
        for frame in self._decoded():
            time = clock.time_of(frame.time)
            if time + _MICROSECOND < due * interval:
                continue
            if num_given == MAX_FRAMES:
                self.notes.append(
                    f"only the first {time:.0f} s were looked at; a larger --frame-interval covers"
                    " more"
                )
                return
            due = int((time + _MICROSECOND) / interval) + 1
            num_given += 1
            yield Frame(time, _upright(_rgb(frame, self.path), frame))
        self._note_the_end(clock.last)
        if not num_given:
            raise BadImageError(self.path, "holds no frame that can be decoded")

    def _decoded(self) -> Iterator[Any]:
        """All frames that can be decoded, in order of presentation."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except Exception as error:  # noqa: BLE001  damaged bytes make it fail in any way
                self.notes.append(f"the file ends in damage ({in_one_line(error)})")
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except Exception:  # noqa: BLE001  see above
                self._num_damaged += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._num_damaged += 1
                else:
                    self.num_frames += 1
                    yield frame

    def _note_the_end(self, last: float) -> None:
        if self._num_damaged:
            self.notes.append(f"{self._num_damaged} damaged frames were left out")
        if self.duration is not None and last + _LATE < self.duration:
            self.notes.append(f"decoding ended at {last:.1f} s of {self.duration:.1f} s")


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """Open a video file, until the block ends.

    Raises:
        BadImageError: It cannot be read, holds no video, or PyAV is not installed.
    """
    av = _import_av(path)
    with ExitStack() as closing:
        container = _container(av, path, closing)
        yield Video(path, container, _video_stream(av, container, path))


def frames_at(path: Path, times: Iterable[float], interval: float) -> Iterator[Frame]:
    """Those frames that ``Video.frames(interval)`` gives at ``times``, in order of time.

    Raises:
        BadImageError: The file cannot be used, or has no such frame at one of the times.
    """
    wanted = sorted(set(times), reverse=True)
    with open_video(path) as video:
        for frame in video.frames(interval):
            if wanted and frame.time + 2 * _MICROSECOND >= wanted[-1]:
                wanted.pop()
                yield frame
            if not wanted:
                return
    raise BadImageError(path, f"has no frame at {wanted[-1]:.3f} s")


def pyav_version() -> str | None:
    """Version of what decodes; None where it is not installed."""
    try:
        return version("av")
    except PackageNotFoundError:
        return None


def is_video(path: Path) -> bool:
    """Whether a file may be a video, by its first bytes; False where it cannot be read."""
    try:
        return S_ISREG(path.stat().st_mode) and identify_file(path).name == VIDEO
    except (OSError, ValueError):
        return False


@final
class _Clock:
    """Times of frames from the first one on; each is later than the one before.

    Args:
        step: Seconds after the one before, for a frame without a time stamp or with an older one.
    """

    def __init__(self, step: float) -> None:
        self.last = -step
        self._step = step
        self._start: float | None = None

    def time_of(self, stamp: float | None) -> float:
        if self._start is None:
            self._start = stamp or 0.0
        time = self.last if stamp is None else stamp - self._start
        self.last = time if time > self.last else self.last + self._step
        return self.last


def _import_av(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise BadImageError(
            path, "is a video, which PyAV reads; pip install 'owdfa[video]'"
        ) from None
    return av


def _container(av: Any, path: Path, closing: ExitStack) -> Any:
    """Open a file as a container, without its name: only content counts, no other file is read."""
    try:
        file = closing.enter_context(path.open("rb"))
        source = SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)
        options = {"format_whitelist": _DEMUXERS}
        opened = av.open(source, metadata_errors="replace", options=options)
        return closing.enter_context(opened)
    except Exception as error:  # damaged bytes make a reader fail in any way
        reason = getattr(error, "strerror", None) or in_one_line(error)
        raise BadImageError(path, f"cannot be opened as a video ({reason})") from error


def _video_stream(av: Any, container: Any, path: Path) -> Any:
    """The first video stream, ready to decode in several threads."""
    cover = av.stream.Disposition.attached_pic
    streams = [each for each in container.streams.video if not each.disposition & cover]
    if not streams:
        raise BadImageError(path, "holds no video (sound alone, perhaps)")
    if streams[0].codec_context is None:
        raise BadImageError(path, "holds video of an unknown or encrypted kind")
    _check_size(streams[0].codec_context, path)
    streams[0].thread_type = "AUTO"
    return streams[0]


def _check_size(shape: Any, path: Path) -> None:
    """Refuse what is too large or too small; a size of 0 x 0 is not known yet."""
    width, height = shape.width, shape.height
    if width * height > MAX_PIXELS or 0 < min(width, height) < MIN_SIDE:
        raise BadImageError(path, f"frames of {width} x {height} pixels are not looked at")


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration * _MICROSECOND


def _rgb(frame: Any, path: Path) -> np.ndarray:
    """Pixels as stored, (H, W, 3) uint8."""
    _check_size(frame, path)
    space = frame.colorspace
    if space == _UNSPECIFIED:
        space = _BT709 if frame.height >= _HD else _BT601
    pixels: np.ndarray = frame.to_ndarray(format="rgb24", src_colorspace=space)
    return pixels


def _upright(pixels: np.ndarray, frame: Any) -> np.ndarray:
    """Turn and mirror a frame as its display matrix says.

    The matrix (a, b, u, c, d, v, x, y, w) sends the point (x, y) to (a x + c y, b x + d y); what
    is no turn by right angles is left as it is.
    """
    found = [each for each in frame.side_data if each.type.name == "DISPLAYMATRIX"]
    if not found:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(found[0]), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
