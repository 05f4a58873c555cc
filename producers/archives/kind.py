"""Which files are archives: told by their content; a workbook is none, though it is a ZIP too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from headrace.errors import DeliveryRejectedError
from headrace.producers.archives.names import ARCHIVE_SUFFIXES
from headrace.producers.archives.tar import BLOCK_BYTES, is_tar
from headrace.producers.archives.zip import zip_names
from headrace.producers.files.compression import (
    Compression,
    find_compression,
    open_decompressed,
)

_HEAD_BYTES: Final = 4_096
_ZIP_STARTS: Final = (b"PK\x03\x04", b"PK\x05\x06")  # a member, or the end of an empty one

# Documents and programs that are ZIP archives inside, by their names and by what only they hold.
_DOCUMENT_SUFFIXES: Final = frozenset(
    {".xlsx", ".xlsm", ".xlsb", ".xltx", ".docx", ".pptx", ".vsdx", ".ods", ".odt", ".odp", ".epub"}
    | {".jar", ".war", ".whl", ".apk", ".aab", ".kmz", ".npz", ".nupkg", ".vsix", ".xpi", ".ipa"}
)
_DOCUMENT_MEMBERS: Final = frozenset(
    {
        "[Content_Types].xml",
        "META-INF/MANIFEST.MF",
        "META-INF/container.xml",
        "META-INF/manifest.xml",
    }
)


@dataclass(frozen=True, slots=True)
class ArchiveKind:
    """How files are packed together, and how the whole is compressed."""

    container: Literal["zip", "tar"]
    compression: Compression | None = None


def find_archive(path: Path, name: str) -> ArchiveKind | None:
    """What kind of archive a file of this name is; None for any other file."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_ZIP_STARTS):
        return None if _is_document(path, name) else ArchiveKind("zip")
    if is_tar(head) or _is_empty_tar(head, name):
        return ArchiveKind("tar")
    compression = find_compression(head)
    if compression is None:
        return None
    try:
        with open_decompressed(path, compression, name=name) as file:
            head = file.read(BLOCK_BYTES)
    except DeliveryRejectedError:
        # Damaged at its beginning: its name says what it would be.
        is_archive = name.lower().endswith(ARCHIVE_SUFFIXES)
    else:
        is_archive = is_tar(head) or _is_empty_tar(head, name)
    return ArchiveKind("tar", compression) if is_archive else None


def _is_document(path: Path, name: str) -> bool:
    if PurePosixPath(name).suffix.lower() in _DOCUMENT_SUFFIXES:
        return True
    names = zip_names(path)
    if not names:
        return False
    return names[0] == "mimetype" or not _DOCUMENT_MEMBERS.isdisjoint(names)


def _is_empty_tar(head: bytes, name: str) -> bool:
    """Whether it is an end mark alone, under the name of an archive."""
    named = name.lower().endswith(ARCHIVE_SUFFIXES)
    return named and len(head) >= BLOCK_BYTES and not head[:BLOCK_BYTES].strip(b"\0")
