"""The header of a JPEG XL file: its plug-in tells the size only when all pixels are decoded."""

from typing import NamedTuple

_CONTAINER = b"\0\0\0\x0cJXL "
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIZE_BITS = (9, 13, 18, 30)


class JxlHeader(NamedTuple):
    """What a JPEG XL file says of itself."""

    width: int  # in pixels as stored
    height: int
    orientation: int  # as in EXIF; its decoder applies it


def jxl_header(data: bytes) -> JxlHeader:
    """Read the size and the orientation (ISO/IEC 18181-1, D.2 and D.3).

    Raises:
        ValueError: There is no whole header.
    """
    bits = _Bits(_codestream(data)[2:])
    small = bits.take(1)
    height = _length(bits, small=small)
    ratio = bits.take(3)
    if ratio:
        numerator, denominator = _RATIOS[ratio - 1]
        width = height * numerator // denominator
    else:
        width = _length(bits, small=small)
    default = bits.take(1)
    extra = not default and bits.take(1)
    return JxlHeader(width, height, 1 + bits.take(3) if extra else 1)


def _length(bits: "_Bits", *, small: int) -> int:
    if small:
        return 8 * (bits.take(5) + 1)
    return 1 + bits.take(_SIZE_BITS[bits.take(2)])


def _codestream(data: bytes) -> bytes:
    """The first bytes of the codestream, out of the container's boxes if need be."""
    if not data.startswith(_CONTAINER):
        return data[:64]
    at = 0
    while at + 8 <= len(data):
        size, kind, start = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8]), start + 8
        if kind in (b"jxlc", b"jxlp"):
            start += 4 * (kind == b"jxlp")  # the number of the part
            return data[start : start + 64]
        if size < start - at:  # 0: up to the end of the file
            break
        at += size
    raise ValueError("has no codestream")


class _Bits:
    """Bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.number, self.left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self.left:
            raise ValueError("ends within its header")
        value = self.number & ((1 << count) - 1)
        self.number >>= count
        self.left -= count
        return value
