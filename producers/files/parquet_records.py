"""Parquet: the rows of a file as Python values, a bounded number of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.csv.grammar import unique_names

_BATCH_BYTES: Final = 8_000_000
_BATCH_ROWS: Final = 16_384
_BUFFER_BYTES: Final = 1_000_000
_UNBUFFERED_BYTES: Final = 100_000_000
_DEEPEST: Final = 100


def parquet_columns(path: Path, name: str) -> tuple[str, ...]:
    """The names of a file's columns. Raises `DeliveryRejectedError` where it has no footer."""
    with _open(path, name) as file:
        return _column_names(file)


def check_parquet(path: Path, name: str) -> None:
    """Decode all of a file once and throw it away.

    A damaged page shows only then, and a file must be refused before its first record is
    published: which rows of it are lost nobody could tell. Raises `DeliveryRejectedError`.
    """
    with _open(path, name) as file:
        rows = 0
        for batch in _batches(file, 0):
            batch.validate(full=True)
            rows += batch.num_rows
            for column, column_name in zip(batch.columns, batch.schema.names, strict=True):
                _check_times(column, column_name)
        if rows != file.metadata.num_rows:
            raise ValueError(f"{rows:,} rows, of the {file.metadata.num_rows:,} its footer tells")


def read_parquet(
    path: Path, name: str, first_number: int = 0
) -> Iterator[Sequence[Mapping[str, object]]]:
    """A file's rows from `first_number` on, in their order, some thousands at a time.

    Raises `DeliveryRejectedError` where `check_parquet` does.
    """
    with _open(path, name) as file:
        for batch in _batches(file, first_number):
            yield batch.to_pylist(maps_as_pydicts="lossy")


@contextmanager
def _open(path: Path, name: str) -> Iterator[Any]:
    try:
        with pq.ParquetFile(
            path,
            # In a large file pages are read as they are needed, so that a row group need not fit
            # into memory. But a buffer grows to whatever size a page claims, which in a damaged
            # file of a few bytes may be 2 GB; without one a page is no longer than its file.
            buffer_size=_BUFFER_BYTES if path.stat().st_size > _UNBUFFERED_BYTES else 0,
            pre_buffer=False,
            page_checksum_verification=True,
            # Spark's old timestamps: in nanoseconds the year 9999, its "never", would overflow.
            coerce_int96_timestamp_unit="us",
        ) as file:
            yield file
    except OSError as error:
        if error.errno is not None:  # the disk, not the file
            raise
        raise _refused(name, error) from error
    except (pa.ArrowException, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise _refused(name, error) from error


def _refused(name: str, error: Exception) -> DeliveryRejectedError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DeliveryRejectedError(
        f"{name}: is no Parquet file that can be read to its end: {reason}",
        remedy="write it again; none of its rows were taken",
    )


def _column_names(file: Any) -> tuple[str, ...]:
    names = tuple(file.schema_arrow.names)
    return names if len(set(names)) == len(names) else unique_names(names)


def _batches(file: Any, first_number: int) -> Iterator[Any]:
    names = _column_names(file)
    if not names:
        raise ValueError("it has no column")
    number = 0
    for group in range(file.num_row_groups):
        about = file.metadata.row_group(group)
        if number + about.num_rows <= first_number:
            number += about.num_rows
            continue
        row_bytes = max(1, about.total_byte_size // max(1, about.num_rows))
        rows = min(_BATCH_ROWS, max(1, _BATCH_BYTES // row_bytes))
        for read in file.iter_batches(rows, row_groups=[group], use_threads=False):
            skipped = max(0, first_number - number)
            number += read.num_rows
            if skipped < read.num_rows:
                columns = [_python_able(column) for column in read.slice(skipped).columns]
                yield pa.RecordBatch.from_arrays(columns, names=list(names))


def _python_able(column: Any) -> Any:
    """Times in microseconds, as Python has no finer ones; as text where they are finer."""
    for finer in (pa.timestamp("us", "UTC"), pa.string()):
        wanted = _cast_type(column.type, finer)
        if wanted == column.type:
            break
        try:
            cast = column.cast(wanted)
        except pa.ArrowInvalid:
            continue
        if pa.types.is_string(cast.type) and pa.types.is_timestamp(column.type):
            return pc.replace_substring(cast, " ", "T", max_replacements=1)
        return cast
    return column


def _cast_type(type_: Any, finer: Any, depth: int = 0) -> Any:
    """The type to read a column as; `finer`: what becomes of nanoseconds, unless it is text."""
    if depth > _DEEPEST:
        raise ValueError(f"its columns are nested more than {_DEEPEST} deep")
    text = pa.types.is_string(finer)
    if pa.types.is_timestamp(type_):
        if text and type_.unit == "ns":
            return finer
        return pa.timestamp("us" if type_.unit == "ns" else type_.unit, type_.tz and "UTC")
    if type_ == pa.time64("ns"):
        return finer if text else pa.time64("us")
    if type_ == pa.duration("ns"):
        return pa.int64() if text else pa.duration("us")
    if pa.types.is_struct(type_):
        return pa.struct(
            [field.with_type(_cast_type(field.type, finer, depth + 1)) for field in type_]
        )
    if pa.types.is_list(type_):
        return pa.list_(_cast_type(type_.value_type, finer, depth + 1))
    if pa.types.is_large_list(type_):
        return pa.large_list(_cast_type(type_.value_type, finer, depth + 1))
    if pa.types.is_map(type_):
        return pa.map_(type_.key_type, _cast_type(type_.item_type, finer, depth + 1))
    return type_


def _check_times(column: Any, name: str) -> None:
    """Raise ValueError where a year is none of Python's."""
    try:
        if pa.types.is_nested(column.type) and _holds_time(column.type):
            column.to_pylist()
        elif pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            pc.min_max(column).as_py()
    except OverflowError as error:
        raise ValueError(f"a time in {name} is not within the years 1 to 9999") from error


def _holds_time(type_: Any) -> bool:
    if pa.types.is_nested(type_):
        return any(_holds_time(type_.field(i).type) for i in range(type_.num_fields))
    return bool(pa.types.is_temporal(type_))
