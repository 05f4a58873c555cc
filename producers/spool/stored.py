"""The small files beside an entry's bytes: each is there whole, or as it was before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.durable import sync_folder
from headrace.errors import LedgerError
from headrace.producers.delivery import (
    Exchange,
    FrozenReading,
    Identity,
    RecordCount,
    Rejected,
)


class Stored(BaseModel):
    """What all of them have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1


class Owner(Stored):
    """Whose spool this is."""

    ledger_id: str


class StoredIdentity(Stored):
    """What a delivery is."""

    identity: Identity


class StoredReading(Stored):
    """How it is read."""

    frozen: FrozenReading


class Held(Stored):
    """Records over the message limit are nowhere but in the payload."""


class Revoked(Stored):
    """It counts no more, whatever else lies here."""


class Inherited(Stored):
    """Deliveries of former ledgers that the lake has of a source, with their streams."""

    streams: dict[str, str]


class StoredExchange(Stored):
    """The HTTP request or answer it was."""

    exchange: Exchange


class StoredRejection(Stored):
    """Why it is not published."""

    rejected: Rejected


class StoredCount(Stored):
    """How many records it has."""

    count: RecordCount


_StoredT = TypeVar("_StoredT", bound=Stored)


@contextmanager
def spool_errors(path: Path) -> Iterator[None]:
    """Turn what the file system raises into a `LedgerError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise LedgerError(
            f"the spool cannot be used: {error.filename or path}: {error.strerror or error}",
            remedy="check the disk's space and the folder's permissions, then run again",
        ) from error


def store(path: Path, value: Stored, *, durable: bool) -> None:
    """Write a small file in one step: it is there whole, or as it was before."""
    data = value.model_dump_json(indent=1).encode()
    temporary = path.with_suffix(".tmp")
    with spool_errors(path):
        with temporary.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)


def load(path: Path, kind: type[_StoredT]) -> _StoredT | None:
    """The file as one of `kind`, `None` where it is not; `LedgerError` for a damaged one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerError(f"the spool's {path} cannot be read: {error.strerror}") from error
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise LedgerError(
            f"the spool's {path} is damaged or was written by another version of headrace",
            remedy="use the version that wrote it, or move its folder out of the spool",
        ) from error
