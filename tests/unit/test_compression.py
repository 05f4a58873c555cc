"""Compressed files: what is found, unpacked, refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.chunked_file import ChunkedFile
from headrace.producers.files.compression import (
    Compression,
    bare_name,
    decompressed_copy,
    find_compression,
    open_decompressed,
    unpacked,
)
from headrace.producers.files.expansion_limits import (
    HARMLESS_BYTES,
    ExpansionLimits,
    ExpansionMeter,
)

LIMITS = ExpansionLimits(max_ratio=1_000, max_bytes=10**9, max_members=10, max_nesting=1)
COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lambda data: lz4.frame.compress(data, content_checksum=True),
}
EACH = pytest.mark.parametrize("compression", list(COMPRESS))
TEXT = b"".join(b"%d,text number %d\n" % (n, n * n) for n in range(3_000))


def unpacked_size(path: Path, compression: Compression, limits: ExpansionLimits, name: str) -> int:
    return sum(map(len, unpacked(path, compression, limits, name)))


@pytest.fixture
def packed(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "packed"
        path.write_bytes(data)
        return path

    return write


@EACH
def test_found_by_content_and_unpacked(packed: Callable, compression: Compression) -> None:
    data = COMPRESS[compression](TEXT)
    assert find_compression(data[:64]) == compression
    path = packed(data)
    assert unpacked_size(path, compression, LIMITS, "x") == len(TEXT)
    with open_decompressed(path, compression) as file:
        assert file.read(10) == TEXT[:10]
        file.seek(30_000)
        assert file.read(10) == TEXT[30_000:30_010]
        file.seek(5)
        assert file.read() == TEXT[5:]
    with decompressed_copy(path, compression, path.parent) as copy:
        assert copy.read_bytes() == TEXT
    assert list(path.parent.iterdir()) == [path]


@EACH
def test_members_behind_each_other_are_one_file(packed: Callable, compression: Compression) -> None:
    compress = COMPRESS[compression]
    members = [TEXT[:1_000], b"", TEXT[1_000:20_000], TEXT[20_000:]]
    data = b"".join(map(compress, members)) + bytes(512)
    assert unpacked_size(packed(data), compression, LIMITS, "x") == len(TEXT)
    with open_decompressed(packed(data), compression) as file:
        assert file.read() == TEXT


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_metadata_before_the_frames_is_passed_over(
    packed: Callable, compression: Compression
) -> None:
    note = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"a jot"
    data = note + COMPRESS[compression](TEXT) + note + COMPRESS[compression](b"end")
    assert find_compression(data[:64]) == compression
    with open_decompressed(packed(data), compression) as file:
        assert file.read() == TEXT + b"end"


@EACH
def test_a_cut_file_is_refused_wherever_it_is_cut(
    packed: Callable, compression: Compression
) -> None:
    data = COMPRESS[compression](TEXT)
    for end in (len(data) - 1, len(data) - 4, len(data) // 2, 12):
        path = packed(data[:end])
        with pytest.raises(DeliveryRejectedError, match=f"{compression} data is (cut off|damaged)"):
            unpacked_size(path, compression, LIMITS, "x.csv.gz")


@EACH
def test_a_damaged_file_is_refused(packed: Callable, compression: Compression) -> None:
    data = bytearray(COMPRESS[compression](TEXT))
    data[len(data) // 2] ^= 0x5A
    with pytest.raises(DeliveryRejectedError, match=r"x\.csv: its .* data is (damaged|cut off)"):
        unpacked_size(packed(bytes(data)), compression, LIMITS, "x.csv")


@EACH
def test_something_else_behind_the_end_is_no_padding(
    packed: Callable, compression: Compression
) -> None:
    data = COMPRESS[compression](TEXT) + b"hello"
    with pytest.raises(DeliveryRejectedError, match=r"is (damaged|cut off)"):
        unpacked_size(packed(data), compression, LIMITS, "x")


@EACH
def test_a_bomb_stops_at_the_limit(packed: Callable, compression: Compression) -> None:
    path = packed(COMPRESS[compression](bytes(HARMLESS_BYTES + 1_000_000)))
    narrow = ExpansionLimits(max_ratio=50, max_bytes=10**9, max_members=1, max_nesting=0)
    with pytest.raises(DeliveryRejectedError, match="more than 50 times as many"):
        unpacked_size(path, compression, narrow, "x")
    small = ExpansionLimits(max_ratio=10**9, max_bytes=5_000_000, max_members=1, max_nesting=0)
    with pytest.raises(DeliveryRejectedError, match="more than 5,000,000 bytes") as refused:
        unpacked_size(path, compression, small, "x")
    assert "archive.max_bytes" in str(refused.value)


def test_a_short_file_of_one_line_is_no_bomb(packed: Callable) -> None:
    data = gzip.compress(b"0,0,0,0\n" * 1_000_000)
    narrow = ExpansionLimits(max_ratio=10, max_bytes=10**9, max_members=1, max_nesting=0)
    assert unpacked_size(packed(data), "gzip", narrow, "x") == 8_000_000


def test_a_window_that_asks_for_too_much_memory_is_refused(packed: Callable) -> None:
    # A frame whose header declares a window of 2 GiB: descriptor 0, window exponent 21.
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\x00\x00"
    with pytest.raises(DeliveryRejectedError, match="asks for more memory"):
        unpacked_size(packed(frame), "zstd", LIMITS, "x")
    allowed = b"\x28\xb5\x2f\xfd\x00" + bytes([17 << 3]) + b"\x01\x00\x00"
    assert unpacked_size(packed(allowed), "zstd", LIMITS, "x") == 0


def test_so_is_a_dictionary_of_xz(packed: Callable) -> None:
    data = bytearray(lzma.compress(TEXT))
    # The block header behind the stream's 12 bytes: LZMA2 (0x21) with one byte that says 4 GiB.
    assert data[14:16] == b"\x21\x01"
    data[16] = 40
    size = 4 * (data[12] + 1)
    data[8 + size : 12 + size] = zlib.crc32(data[12 : 8 + size]).to_bytes(4, "little")
    with pytest.raises(DeliveryRejectedError, match="asks for more memory"):
        unpacked_size(packed(bytes(data)), "xz", LIMITS, "x")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x1f",
        b"BZh",
        b"BZhello",
        b"a,b\n1,2\n",
        b"\x50\x2a\x4d\x18",
        b"PK\x03\x04",
        b"\x1f\x8b\x01",
    ],
)
def test_what_is_not_compressed(head: bytes) -> None:
    assert find_compression(head) is None


def test_the_name_without_its_suffix() -> None:
    assert bare_name("in/x.csv.gz") == "in/x.csv"
    assert bare_name("x.json.ZST") == "x.json"
    assert bare_name("x.csv") == "x.csv"
    assert bare_name(".gz") == ".gz"


def test_members_and_nesting_are_counted() -> None:
    meter = ExpansionMeter(LIMITS, "a.zip", 100)
    for _ in range(10):
        meter.count_member()
    with pytest.raises(DeliveryRejectedError, match=r"a\.zip: found more than 10 files"):
        meter.count_member()
    meter.check_nesting(1)
    with pytest.raises(DeliveryRejectedError, match="2 deep"):
        meter.check_nesting(2)
    with meter.counted(io.BytesIO(b"12345")) as file:
        assert file.read() == b"12345"
    assert meter.unpacked_bytes == 5
    assert list(meter.watch([b"ab", b"c"])) == [b"ab", b"c"]
    assert meter.unpacked_bytes == 8


@given(
    chunks=st.lists(st.binary(max_size=9), max_size=9),
    steps=st.lists(
        st.tuples(st.sampled_from(["read", "seek", "end"]), st.integers(0, 40)), max_size=9
    ),
)
@settings(max_examples=60, deadline=None)
def test_chunks_read_like_a_file(chunks: list[bytes], steps: list[tuple[str, int]]) -> None:
    data = b"".join(chunks)
    ours, plain = ChunkedFile(lambda: (chunk for chunk in chunks)), io.BytesIO(data)
    for step, number in steps:
        if step == "read":
            assert ours.read(number) == plain.read(number)
        elif step == "end":
            assert ours.seek(0, io.SEEK_END) == plain.seek(0, io.SEEK_END)
        else:
            place = min(number, len(data))
            assert ours.seek(place) == plain.seek(place)
        assert ours.tell() == plain.tell()
    assert ours.read() == plain.read()


def test_streams_of_zlib_alone_are_no_gzip() -> None:
    assert find_compression(zlib.compress(TEXT)) is None
