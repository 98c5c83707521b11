"""Video files of a few frames."""

from fractions import Fraction

import av
import numpy as np

MILLISECOND = Fraction(1, 1000)
SIZE = (96, 64)


def plain_frames(*levels, size=SIZE):
    """Frames of one colour each, red by ``levels``; the upper left corner is white."""
    for level in levels:
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        pixels[:] = (level, 90, 90)
        pixels[:16, :16] = 255
        yield pixels


def write_clip(path, frames, times=None, codec="libx264", prepare=lambda stream: None, **options):
    """Write frames (H, W, 3) at times in milliseconds, ten a second by default."""
    frames = list(frames)
    height, width = frames[0].shape[:2] if frames else SIZE[::-1]
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = MILLISECOND
        stream.codec_context.gop_size = 4
        prepare(stream)
        for place, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts = 100 * place if times is None else times[place]
            frame.time_base = MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path, codec="aac"):
    """Write a tenth of a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
