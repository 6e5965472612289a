"""The chunks of a sound file: where its samples begin and end, whatever the sizes in its header say.

libsndfile takes a header at its word: it returns what remains of a file that was cut, nothing of one whose recorder
died before it wrote the sizes, and loses its way behind a chunk that was not padded. It counts an ID3 tag in front as
a part of the file, so that as much is missing at the end, and takes bytes after Wave64's samples for samples.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from tinyllava_kit.errors import KitError, shown
from tinyllava_kit.files.opening import reason

_UNKNOWN = 0x7FFF_0000  # sizes from here on are what programs write into a pipe
_MAX_CHUNKS = 1000  # in front of the samples
_FORMS = (b"WAVE", b"AIFF", b"AIFC")  # other kinds of files have chunks, too
_W64 = bytes.fromhex("2e91cf11a5d628db04c10000")  # what follows "riff" in the name of a Wave64 file
# Encodings of wav files that libsndfile decodes, and the names of some that it does not.
_DECODED = {0x01, 0x02, 0x03, 0x06, 0x07, 0x11, 0x31, 0x38, 0x40, 0x55}
_ENCODINGS = {
    0x10: "OKI ADPCM",
    0x20: "Yamaha ADPCM",
    0x22: "TrueSpeech",
    0x42: "G.723.1",
    0x45: "G.726 ADPCM",
    0x50: "MPEG layer 1 or 2",
    0x64: "G.726 ADPCM",
    0x65: "G.722 ADPCM",
    0xFF: "AAC",
    0x161: "WMA",
    0x162: "WMA",
    0x1610: "AAC",
    0x2000: "AC-3",
}
_EXTENSIBLE = 0xFFFE
CONVERT = "convert it to PCM of 16 bits (ffmpeg -i FILE -c:a pcm_s16le NEW.wav)"


@dataclass(frozen=True)
class _Layout:
    """How a container writes its chunks. `first`: where the first begins."""

    order: Literal["little", "big"]
    samples: bytes  # the chunk that holds them
    first: int = 12
    name: int = 4  # bytes of a chunk's name
    size: int = 4  # bytes of its size
    align: int = 2
    counted: int = 0  # bytes of its own head that a chunk's size counts


_LAYOUTS = {
    b"RIFF": _Layout("little", b"data"),
    b"RIFX": _Layout("big", b"data"),
    b"RF64": _Layout("little", b"data"),
    b"BW64": _Layout("little", b"data"),
    b"FORM": _Layout("big", b"SSND"),
    b"riff": _Layout("little", b"data", first=40, name=16, size=8, align=8, counted=24),
}


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    at: int  # where its content begins
    size: int


def whole(file: BinaryIO, name: str) -> BinaryIO:
    """A sound file as its decoder is to see it: without a tag in front; of a wav file the format and the samples, with
    sizes that are right.

    Raises:
        KitError: the samples end before the header says so, or their size was never written in a format where nothing
            but the header says where they end; they are of an encoding that is not decoded; a file that is open as text
            or cannot seek. Names the file.
    """
    try:
        start = file.tell()
        if not isinstance(file.read(1), bytes):
            raise KitError(f"{shown(name)} is open as text; open it in binary mode")
        end = file.seek(0, os.SEEK_END)
        first = _behind_tags(file, start)
        file.seek(first)
        head = file.read(16)
        layout = _LAYOUTS.get(head[:4]) if head[4:] == _W64 or head[8:12] in _FORMS else None
        made = None if layout is None else _whole(file, name, layout, head[:4], first, end)
        if made is None and first > start:
            made = _part(b"", file, first, end - first)
        file.seek(start)
    except OSError as error:
        raise KitError(f"cannot read {shown(name)}: {reason(error)}; give a file that can seek") from error
    return file if made is None else made


def _behind_tags(file: BinaryIO, at: int) -> int:
    """Where a file begins at whose `at` ID3 tags may stand."""
    while True:
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 0x7F:
            return at
        size = sum(each << shift for each, shift in zip(head[6:], (21, 14, 7, 0), strict=True))  # of 7 bits each
        at += 10 + size + (10 if head[5] & 0x10 else 0)  # a flag tells of a foot, as long as the head


def _whole(file: BinaryIO, name: str, layout: _Layout, kind: bytes, start: int, end: int) -> BinaryIO | None:
    before: list[tuple[bytes, bytes]] = []
    long_size = 0
    for number, chunk in enumerate(_chunks(file, layout, start, end)):
        if number == _MAX_CHUNKS:
            return None
        if chunk.name[:4] == b"ds64":
            file.seek(chunk.at + 8)
            long_size = int.from_bytes(file.read(8), "little")
        elif chunk.name[:4] in (b"fmt ", b"fact") and chunk.size < 1 << 16:
            file.seek(chunk.at)
            before.append((chunk.name, file.read(chunk.size)))
        elif chunk.name[:4] == layout.samples:
            size = long_size if chunk.size == 0xFFFF_FFFF and long_size else chunk.size
            size = _size(file, name, layout, kind, _Chunk(chunk.name, chunk.at, size), end)
            if kind == b"riff":
                return _part(b"", file, start, chunk.at + size - start)
            if kind not in (b"RIFF", b"RIFX"):
                return None
            _check_encoding(name, dict(before).get(b"fmt ", b""), layout)
            return _rewritten(file, layout, kind, before, chunk.at, size)
    raise KitError(f"{shown(name)} is truncated: it ends before its samples begin; fetch it again")


def _check_encoding(name: str, form: bytes, layout: _Layout) -> None:
    """Check that libsndfile decodes the samples of a wav file.

    Args:
        form: the content of a wav file's chunk that says what its samples are.

    Raises:
        KitError: libsndfile has no decoder for them.
    """
    encoding = int.from_bytes(form[:2], layout.order)
    if encoding == _EXTENSIBLE:
        encoding = int.from_bytes(form[24:26], layout.order)
    if form and encoding not in _DECODED:
        called = f"{_ENCODINGS.get(encoding, 'of another encoding')} (wav format 0x{encoding:04x})"
        raise KitError(f"{shown(name)}: its samples are {called}, not decoded; {CONVERT}")


def _size(file: BinaryIO, name: str, layout: _Layout, kind: bytes, chunk: _Chunk, end: int) -> int:
    """Of the samples, in bytes.

    Raises:
        KitError: as `whole`.
    """
    there = end - chunk.at
    unwritten = chunk.size <= 0 and there > 0 and not _are_chunks(file, layout, chunk.at, end)
    if unwritten and kind not in (b"RIFF", b"RIFX"):
        raise KitError(
            f"{shown(name)}: its header was never finished: it says no samples, and {there} bytes follow it; "
            "rewrite it with a program that reads on (ffmpeg, sox)"
        )
    if unwritten or (layout.size == 4 and chunk.size >= _UNKNOWN and chunk.size > there):
        return there
    if chunk.size > there:
        raise KitError(
            f"{shown(name)} is truncated: its header promises {chunk.size} bytes of samples, it has {there}; fetch it "
            "again"
        )
    return max(chunk.size, 0)


def _chunks(file: BinaryIO, layout: _Layout, start: int, end: int) -> Iterator[_Chunk]:
    at, length = start + layout.first, layout.name + layout.size
    while at + length <= end:
        file.seek(at)
        head = file.read(length)
        size = int.from_bytes(head[layout.name :], layout.order) - layout.counted
        yield _Chunk(head[: layout.name], at + length, size)
        at += length + max(size, 0)
        at += 0 if _begins_chunk(file, at) and layout.align == 2 else (start - at) % layout.align


def _begins_chunk(file: BinaryIO, at: int) -> bool:
    """Whether a chunk begins there: some programs do not pad one of an odd size."""
    file.seek(at)
    name = file.read(4)
    return len(name) == 4 and name.isascii() and name.decode().isprintable()


def _are_chunks(file: BinaryIO, layout: _Layout, at: int, end: int) -> bool:
    """Whether there are only chunks from `at` to the end of the file: then there are no samples."""
    for number, chunk in enumerate(_chunks(file, layout, at - layout.first, end)):
        if number == _MAX_CHUNKS or not chunk.name[:4].isascii() or not chunk.name[:4].decode().isprintable():
            return False
        last = chunk.at + chunk.size
        if last > end:
            return False
        if end - last <= 1:
            return True
    return False


def _rewritten(
    file: BinaryIO, layout: _Layout, kind: bytes, chunks: list[tuple[bytes, bytes]], at: int, size: int
) -> BinaryIO:
    """A wav file of these chunks and the samples that lie in `file` at `at`."""
    body = b"".join(
        name + len(content).to_bytes(4, layout.order) + content + b"\0" * (len(content) % 2) for name, content in chunks
    )
    size = min(size, 0xFFFF_FFFF - len(body) - 20)
    body += b"data" + size.to_bytes(4, layout.order)
    head = kind + (4 + len(body) + size).to_bytes(4, layout.order) + b"WAVE" + body
    return _part(head, file, at, size)


def _part(head: bytes, file: BinaryIO, at: int, size: int) -> BinaryIO:
    return io.BufferedReader(_Behind(head, file, at, size))


class _Behind(io.RawIOBase):
    """Some bytes, and a part of a file behind them."""

    def __init__(self, head: bytes, file: BinaryIO, at: int, size: int) -> None:
        super().__init__()
        self.head, self.file, self.start, self.length = head, file, at, len(head) + size
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = max(offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.length}[whence], 0)
        return self.at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = max(min(len(buffer), self.length - self.at), 0)
        if self.at < len(self.head):
            found = self.head[self.at : self.at + wanted]
        else:
            self.file.seek(self.start + self.at - len(self.head))
            found = self.file.read(wanted)
        buffer[: len(found)] = found
        self.at += len(found)
        return len(found)
