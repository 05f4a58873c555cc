"""Avro object container files (https://avro.apache.org/docs/1.12.0/specification/): records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import fastavro
from fastavro.schema import SchemaParseException

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.avro_blocks import BLOCK_FAULTS, check_blocks
from headrace.producers.files.json.form import record_json

# What fastavro meets in bytes that are no Avro: it does not look before it leaps.
_DAMAGE: Final[tuple[type[Exception], ...]] = (
    *(ValueError, TypeError, LookupError, ArithmeticError, EOFError, AttributeError),
    *(MemoryError, RuntimeError, StopIteration, AssertionError, ImportError),
    *(*BLOCK_FAULTS, SchemaParseException),
)
_DEEPEST: Final = 100


def avro_columns(path: Path, name: str) -> tuple[str, ...]:
    """The names of a record's fields. Raises `DeliveryRejectedError` where the header is broken."""
    with _open(path, name) as (reader, _):
        return tuple(field["name"] for field in reader.writer_schema["fields"])


def check_avro(path: Path, name: str) -> None:
    """Decode all of a file once and throw it away.

    A file whose last block is cut off is refused as a whole, before its first record is
    published: its writer died or its copy was broken off, and the whole file is likely to come.
    (One cut exactly between two blocks cannot be told from a whole one: Avro has no end mark.)
    Raises `DeliveryRejectedError`.
    """
    with _open(path, name) as (reader, file):
        check_blocks(file, reader.codec)
    for record in read_avro(path, name):
        try:
            record_json(record)
        except ValueError as error:
            raise _refused(name, error) from error


def read_avro(path: Path, name: str, first_number: int = 0) -> Iterator[Mapping[str, object]]:
    """A file's records from `first_number` on, a block in memory at a time.

    Raises `DeliveryRejectedError` where the file is damaged.
    """
    with _open(path, name) as (reader, _):
        number = 0
        for block in reader:
            for record in block:
                if number >= first_number:
                    yield record
                number += 1
            # Nothing else tells of bytes that were changed: a field of nothing is a record too.
            if block.bytes_.read(1):
                raise ValueError("its records end before the block they are in")


class _Bounded:
    """A file of which never more is asked for than there is: lengths in it may be wrong."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = self._size = size

    def tell(self) -> int:
        """How much was read."""
        return self._size - self._left

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or what there is."""
        if size < 0 or size > self._left:
            size = self._left
        data = self._file.read(size)
        self._left -= len(data)
        return data


@contextmanager
def _open(path: Path, name: str) -> Iterator[tuple[Any, _Bounded]]:
    """A file's reader, and the file behind its header."""
    try:
        with path.open("rb") as file:
            bounded = _Bounded(file, path.stat().st_size)
            reader = fastavro.block_reader(cast("BinaryIO", bounded))
            _check_schema(reader.writer_schema)
            yield reader, bounded
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk, not the file
            raise
        raise _refused(name, error) from error


def _refused(name: str, error: BaseException) -> DeliveryRejectedError:
    reason = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
    return DeliveryRejectedError(
        f"{name}: is no Avro file that can be read to its end: {reason[:300]}",
        remedy="write it again; none of its records were taken",
    )


def _check_schema(schema: object) -> None:
    """Refuse what is no record, and lists of nothing: a few bytes could claim 2^60 elements."""
    if not isinstance(schema, dict) or schema.get("type") not in ("record", "error"):
        kind = schema.get("type") if isinstance(schema, dict) else schema
        raise ValueError(f"it holds values of the type {kind!r}, expected records")
    named: dict[str, bool] = {}
    if not _takes_bytes(schema, named, 0):
        raise ValueError("its records have no field that takes a byte")


def _takes_bytes(schema: object, named: dict[str, bool], depth: int) -> bool:
    """Whether a value of the schema is at least a byte long."""
    if depth > _DEEPEST:
        raise ValueError(f"its schema is nested more than {_DEEPEST} deep")
    if isinstance(schema, list):
        for branch in schema:
            _takes_bytes(branch, named, depth + 1)
        return True
    if isinstance(schema, str):
        return schema != "null" and named.get(schema, True)
    assert isinstance(schema, dict), schema
    kind = schema["type"]
    if isinstance(kind, dict | list):
        return _takes_bytes(kind, named, depth + 1)
    if kind in ("array", "map"):
        item = schema["items" if kind == "array" else "values"]
        if not _takes_bytes(item, named, depth + 1) and kind == "array":
            raise ValueError("it has an array whose elements take no byte")
        return True
    if kind in ("record", "error"):
        named[schema["name"]] = True
        sizes = [_takes_bytes(field["type"], named, depth + 1) for field in schema["fields"]]
        named[schema["name"]] = any(sizes)
        return any(sizes)
    if kind == "fixed":
        named[schema["name"]] = schema["size"] > 0
        return bool(schema["size"] > 0)
    return bool(kind != "null") and named.get(kind, True)
