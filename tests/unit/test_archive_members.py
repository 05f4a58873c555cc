"""What is found in archives: any packing that tools make, and what nobody should have packed."""

from __future__ import annotations

import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.errors import DeliveryRejectedError
from headrace.producers.archives.kind import ArchiveKind, find_archive
from headrace.producers.archives.member import (
    BrokenArchiveError,
    DamagedMemberError,
    Member,
)
from headrace.producers.archives.names import WantedMembers, plain_name, why_unsafe
from headrace.producers.archives.tar import tar_members
from headrace.producers.archives.zip import zip_members
from headrace.producers.files.compression import open_decompressed
from support.archive_files import (
    COMPRESS,
    TAR_FORMATS,
    ZIP_FLAGS,
    ZIP_METHOD,
    ZIP_METHODS,
    ZIP_OFFSET_IN_DIRECTORY,
    ZIP_SIZE,
    tar_header,
    tar_of,
    with_header_size,
    zip_of,
    zip_patched,
    zip_with_field,
)

FILES = {"a.csv": b"item\n1\n", "folder/b.csv": b"item\n2\n" * 1_000, "ü/c.csv": b""}
# Six members in their order: names, contents; None where it is not to be had, "" for no reason.
Found = list[tuple[str, bytes | None, str]]


def members_of(path: Path) -> Iterator[Member]:
    kind = find_archive(path, path.name)
    assert kind is not None
    if kind.container == "zip":
        return zip_members(path, path.name, 1_000)
    file = (
        open_decompressed(path, kind.compression, name=path.name)
        if kind.compression
        else io.BytesIO(path.read_bytes())
    )
    return tar_members(file, path.name)


def read(member: Member) -> tuple[str, bytes | None, str]:
    if member.problem is not None:
        return member.name, None, member.problem.message
    try:
        return member.name, b"".join(member.read()), ""
    except DamagedMemberError as error:
        return member.name, None, error.message


@pytest.fixture
def found(tmp_path: Path) -> Callable[[bytes, str], Found]:
    """What is found in an archive of these bytes and this name."""

    def find(content: bytes, name: str) -> Found:
        path = tmp_path / name
        path.write_bytes(content)
        return [read(member) for member in members_of(path)]

    return find


@pytest.mark.parametrize("one_way", [False, True])
@pytest.mark.parametrize("method", ZIP_METHODS)
def test_zips_of_every_method(
    found: Callable[[bytes, str], Found], method: int, one_way: bool
) -> None:
    expected = [(name, content, "") for name, content in FILES.items()]
    assert found(zip_of(FILES, method, one_way=one_way), "x.zip") == expected


@pytest.mark.parametrize("format_", TAR_FORMATS)
@pytest.mark.parametrize("compression", COMPRESS)
def test_tars_of_every_format_and_compression(
    found: Callable[[bytes, str], Found], compression: str, format_: int
) -> None:
    packed = COMPRESS[compression](tar_of(FILES, format_))
    expected = [(name, content, "") for name, content in FILES.items()]
    # The name says nothing: content does.
    assert found(packed, "x.dat") == expected


def test_zip64_and_names_of_old_tools(found: Callable[[bytes, str], Found]) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        with archive.open("large.csv", "w", force_zip64=True) as member:
            member.write(b"1\n")
        archive.writestr("xyz.csv", b"2\n")
    # Without the flag that says UTF-8 a name is of code page 437.
    old = file.getvalue().replace(b"xyz.csv", b"\x81ml.csv")
    assert found(old, "x.zip") == [("large.csv", b"1\n", ""), ("üml.csv", b"2\n", "")]


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_tars(found: Callable[[bytes, str], Found], format_: int) -> None:
    name = "/".join(["a" * 90] * 6) + "/ö.csv"
    assert found(tar_of({name: b"1\n"}, format_), "x.tar") == [(name, b"1\n", "")]


def test_folders_are_no_members(found: Callable[[bytes, str], Found]) -> None:
    assert found(zip_of({"a/": b"", "a/b.csv": b"1"}), "x.zip") == [("a/b.csv", b"1", "")]
    old = tar_header("old/", tarfile.REGTYPE, size=600)
    folders = tar_of({"a": tar_header("a", tarfile.DIRTYPE)})[:512] + old.tobuf() + bytes(1024)
    tar = folders + tar_of({"./a/b.csv": b"1"})
    assert found(tar, "x.tar") == [("a/b.csv", b"1", "")]


UNSAFE = {
    "../up.csv": "points out of its folder",
    "a/../../up.csv": "points out of its folder",
    "/etc/passwd": "is absolute",
    "C:/x.csv": "drive letter",
    "c:x.csv": "drive letter",
    "a\\b.csv": "backslash",
    "a\nb.csv": "control characters",
    "a\x1b[2Jb.csv": "control characters",
    "a\u202evsc.csv": "control characters",
    "n" * 1_001: "1,001 characters",
    "": "is empty",
    "./": "is empty",
}


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names(name: str) -> None:
    assert UNSAFE[name] in str(why_unsafe(name))


@pytest.mark.parametrize("name", ["a.csv", "./a.csv", "a/b/c.csv", "...csv", "a..b", "ü 1.csv"])
def test_safe_names(name: str) -> None:
    assert why_unsafe(name) is None
    assert plain_name("./a//b/./c.csv") == "a/b/c.csv"


def test_members_of_unsafe_names_are_told_and_the_others_read(
    found: Callable[[bytes, str], Found],
) -> None:
    files = {"../up.csv": b"1", "good.csv": b"2", "/abs.csv": b"3", "a\\b.csv": b"4"}
    for packed, name in ((zip_of(files), "x.zip"), (tar_of(files), "x.tar")):
        up, good, absolute, backslash = found(packed, name)
        assert good == ("good.csv", b"2", "")
        assert up[:2] == ("../up.csv", None)
        assert up[2] == (
            f"{name}/../up.csv: its name points out of its folder (..), expected a relative name"
        )
        assert (absolute[1], backslash[1]) == (None, None)
    nul = zip_of({"a.csv_.exe": b"1"}).replace(b"a.csv_.exe", b"a.csv\0.exe")
    ((shown, content, reason),) = found(nul, "nul.zip")
    assert (shown, content) == ("a.csv\\x00.exe", None)
    assert "NUL" in reason


def test_a_name_stands_for_one_member(found: Callable[[bytes, str], Found]) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.csv", b"2")
    twice = tar_of({"a.csv": b"1", "./a.csv": b"2"})
    for packed, name in ((file.getvalue(), "x.zip"), (twice, "x.tar")):
        first, second = found(packed, name)
        assert first == ("a.csv", b"1", "")
        assert second[1] is None
        assert "same name" in second[2]


def hostile_zips() -> dict[str, tuple[bytes, str]]:
    """Archives of `bad.csv` and `good.csv`, each with what is said of the first."""
    plain = zip_of({"bad.csv": b"item\n" * 100, "good.csv": b"2"}, zipfile.ZIP_STORED)
    link = zipfile.ZipInfo("bad.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    device = zipfile.ZipInfo("bad.csv")
    device.external_attr = (stat.S_IFBLK | 0o777) << 16
    special = {}
    for name, info in (("link", link), ("device", device)):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(info, b"/etc/passwd")
            archive.writestr("good.csv", b"2")
        special[name] = file.getvalue()
    lzma = zip_of({"bad.csv": b"item\n" * 100, "good.csv": b"2"}, zipfile.ZIP_LZMA)
    at = lzma.index(b"bad.csv") + len("bad.csv") + 5
    return {
        "encrypted": (zip_with_field(plain, "bad.csv", ZIP_FLAGS, b"\x01\0"), "is encrypted"),
        "Deflate64": (zip_with_field(plain, "bad.csv", ZIP_METHOD, b"\x09\0"), "Deflate64"),
        "an unknown method": (zip_with_field(plain, "bad.csv", ZIP_METHOD, b"\x4d\0"), "method 77"),
        "its bytes changed": (plain.replace(b"item\nitem", b"item\nltem", 1), "Bad CRC-32"),
        "garbage": (zip_with_field(plain, "bad.csv", ZIP_METHOD, b"\x08\0"), "damaged"),
        "another size in its header": (
            zip_patched(plain, "bad.csv", local={ZIP_SIZE[0]: b"\x05\0\0\0"}, directory={}),
            "two accounts of its size",
        ),
        "another method in its header": (
            zip_patched(plain, "bad.csv", local={ZIP_METHOD[0]: b"\x08\0"}, directory={}),
            "two accounts of how it is packed",
        ),
        "no header": (plain.replace(b"PK\x03\x04", b"PK\x03\x05", 1), "nothing where"),
        "a place beyond the end": (
            zip_patched(
                plain, "bad.csv", local={}, directory={ZIP_OFFSET_IN_DIRECTORY: b"\xff\xff\xff\x7f"}
            ),
            "nothing where",
        ),
        "a link": (special["link"], "is a link"),
        "a device": (special["device"], "special file"),
        "a dictionary of gigabytes": (
            lzma[:at] + b"\xff\xff\xff\xf0" + lzma[at + 4 :],
            "dictionary",
        ),
    }


@pytest.mark.parametrize("what", hostile_zips())
def test_a_bad_member_of_a_zip_does_not_spoil_the_good(
    found: Callable[[bytes, str], Found], what: str, tmp_path: Path
) -> None:
    content, said = hostile_zips()[what]
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    # One that begins with no member is told by its directory, if it is asked for.
    bad, good = (read(member) for member in zip_members(path, "x.zip", 1_000))
    assert good == ("good.csv", b"2", "")
    assert bad[:2] == ("bad.csv", None)
    assert bad[2].startswith("x.zip/bad.csv: ")
    assert said in bad[2]


def test_members_that_share_their_bytes_are_not_read(found: Callable[[bytes, str], Found]) -> None:
    plain = zip_of({"a.csv": b"x" * 100, "b.csv": b"y" * 100, "c.csv": b"z"}, zipfile.ZIP_STORED)
    inside = plain.index(b"x" * 100) + 3
    header = plain[plain.index(b"PK\x03\x04", 1) :][:35]
    bomb = bytearray(plain)
    bomb[inside : inside + len(header)] = header
    overlapping = zip_patched(
        bytes(bomb),
        "b.csv",
        local={},
        directory={ZIP_OFFSET_IN_DIRECTORY: inside.to_bytes(4, "little")},
    )
    a, b, c = found(overlapping, "x.zip")
    assert "shares bytes with another" in a[2]
    assert "shares bytes with another" in b[2]
    assert c == ("c.csv", b"z", "")


@pytest.mark.parametrize("kept", [40, -1, -10])
def test_a_zip_that_is_cut_off_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(zip_of(FILES)[:kept])
    with pytest.raises(DeliveryRejectedError, match="ZIP archive that cannot be read"):
        list(zip_members(path, "x.zip", 1_000))


def test_a_directory_larger_than_members_need_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(zip_of({"n" * 60_000 + str(number): b"" for number in range(20)}))
    with pytest.raises(DeliveryRejectedError, match="directory of members takes more than"):
        list(zip_members(path, "x.zip", 10))
    assert len(list(zip_members(path, "x.zip", 10_000))) == 20


SPECIAL_MEMBERS = {
    "a symbolic link": (tar_header("bad", tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
    "a hard link": (tar_header("bad", tarfile.LNKTYPE, linkname="good.csv"), "is a link"),
    "a device": (tar_header("bad", tarfile.CHRTYPE), "special file"),
    "a pipe": (tar_header("bad", tarfile.FIFOTYPE), "special file"),
    "an unknown type": (tar_header("bad", b"Z"), "unknown type"),
    "a sparse file": (
        tar_header("bad", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),
        "sparse",
    ),
}


@pytest.mark.parametrize("what", SPECIAL_MEMBERS)
def test_a_bad_member_of_a_tar_does_not_spoil_the_good(
    found: Callable[[bytes, str], Found], what: str
) -> None:
    header, said = SPECIAL_MEMBERS[what]
    bad, good = found(tar_of({"bad": header, "good.csv": b"2"}), "x.tar")
    assert good == ("good.csv", b"2", "")
    assert bad[1] is None
    assert said in bad[2]


def test_an_old_sparse_file_with_its_map_in_more_blocks(
    found: Callable[[bytes, str], Found],
) -> None:
    header = bytearray(tar_header("bad", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[482] = 1
    more = bytearray(512)
    more[504] = 1
    last = bytes(512)
    sparse = with_header_size(bytes(header), 3) + bytes(more) + last + b"abc".ljust(512, b"\0")
    bad, good = found(sparse + tar_of({"good.csv": b"2"}), "x.tar")
    assert "sparse" in bad[2]
    assert good == ("good.csv", b"2", "")


def broken_tars() -> dict[str, tuple[bytes, str]]:
    """Archives of which `a.csv` is good, and what is said of the rest."""
    first = tar_of({"a.csv": b"1"})[:1024]
    block = tar_header("b.csv").tobuf()
    pax = tar_header("b.csv", pax_headers={"comment": "x" * 100}).tobuf(tarfile.PAX_FORMAT)
    digits = b"9" * 512
    return {
        "its end before a header": (first, "its end before its end mark after 1 members"),
        "its end in a header": (first + block[:100], "its end before its end mark"),
        "its end in a member": (first + with_header_size(block, 5_000) + b"x" * 600, "its end"),
        "a header's checksum": (first + block.replace(b"b.csv", b"c.csv"), "a damaged header"),
        "a size below zero": (first + with_header_size(block, -512), "a size below zero"),
        "a size of exabytes": (first + with_header_size(block, 2**62), "its end"),
        "a header of gigabytes": (
            first + with_header_size(pax[:512], 2**33) + pax[512:] + bytes(1024),
            "an extended header of 8,589,934,592 bytes",
        ),
        "a header of digits": (
            first + with_header_size(pax[:512], 512) + digits + block + bytes(1024),
            "a damaged header",
        ),
        "more behind its end": (tar_of({"a.csv": b"1"}) + tar_of({"b.csv": b"1"}), "more behind"),
    }


@pytest.mark.parametrize("what", broken_tars())
def test_a_tar_that_breaks_off_gives_what_came_before(tmp_path: Path, what: str) -> None:
    content, said = broken_tars()[what]
    members = tar_members(io.BytesIO(content), "x.tar")
    seen: Found = []
    with pytest.raises(BrokenArchiveError) as caught:
        seen.extend(map(read, members))
    assert said in caught.value.message
    assert seen[0] == ("a.csv", b"1", "")
    assert all(content is None for _, content, _ in seen[1:])


@pytest.mark.parametrize("compression", [".gz", ".zst", ".xz", ".lz4"])
def test_a_compressed_tar_cut_off_gives_what_came_before(tmp_path: Path, compression: str) -> None:
    noise = random.Random(1).randbytes(300_000)
    path = tmp_path / "x.tar"
    packed = COMPRESS[compression](tar_of({"a.csv": noise, "b.csv": noise[::-1]}))
    path.write_bytes(packed[: len(packed) * 9 // 10])
    members = members_of(path)
    assert read(next(members)) == ("a.csv", noise, "")
    name, content, reason = read(next(members))
    assert (name, content) == ("b.csv", None)
    assert "the archive ends" in reason
    with pytest.raises(BrokenArchiveError, match="its end before"):
        next(members)


def test_what_is_an_archive_is_told_by_content(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def kind(content: bytes, name: str = "x.csv") -> ArchiveKind | None:
        path.write_bytes(content)
        return find_archive(path, name)

    assert kind(zip_of(FILES)) == ArchiveKind("zip")
    assert kind(zip_of({})) == ArchiveKind("zip")
    assert kind(tar_of(FILES)) == ArchiveKind("tar")
    assert kind(COMPRESS[".zst"](tar_of(FILES))) == ArchiveKind("tar", "zstd")
    assert kind(tar_of({}), "empty.tar") == ArchiveKind("tar")
    assert kind(b"item\n1\n", "x.zip") is None
    assert kind(COMPRESS[".gz"](b"item\n1\n"), "x.tar.gz") is None
    assert kind(b"", "x.zip") is None
    # Documents that are ZIP archives inside.
    assert kind(zip_of({"xl/workbook.xml": b"", "[Content_Types].xml": b""}), "x.zip") is None
    assert kind(zip_of({"mimetype": b"application/epub+zip", "a": b""}), "x.zip") is None
    assert kind(zip_of({"META-INF/MANIFEST.MF": b""}), "x.zip") is None
    assert kind(zip_of({"sheet.xml": b""}), "Report.XLSX") is None


def test_which_members_a_source_takes() -> None:
    everything = WantedMembers(["*.zip", "sales_*.tar.*", "*.gz"], ignore=["old*"])
    assert everything("x.zip", "deep/in/readme.txt")
    assert not everything("x.zip", "__MACOSX/._a.csv")
    assert not everything("x.zip", "__MACOSX/a.csv")
    assert not everything("x.zip", ".hidden/a.csv")
    assert not everything("x.zip", "a/Thumbs.db")
    assert not everything("x.zip", "a.csv.part")
    assert not everything("x.zip", "old_a.csv")
    assert not everything("x.zip", "older/a.csv")
    some = WantedMembers(["*.csv", "*.csv.gz", "*.zip"], marker=".done")
    assert some("x.zip", "deep/A.CSV")
    assert some("x.zip", "a.csv.gz")
    assert some("x.zip", "inner.zip")
    assert not some("x.zip", "a.csv.done")
    assert not some("x.zip", "readme.txt")
    placed = WantedMembers(["2010/*.csv", "x.zip/2011/*.csv"])
    assert placed("x.zip", "2010/a.csv")
    assert placed("x.zip", "2011/a.csv")
    assert not placed("y.zip", "2011/a.csv")
