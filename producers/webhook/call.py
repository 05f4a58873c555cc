"""One call of a webhook: what was sent, under which name it is known, and that as bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from headrace.producers.delivery import Exchange, IdentityBy

_HEAD_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was let in. `name`: within its source; `identity_by`: whether that decides."""

    name: str
    identity_by: IdentityBy
    exchange: Exchange
    body: bytes

    def to_bytes(self) -> bytes:
        """As it stands in a journal."""
        head = orjson.dumps(_Head(self.name, self.identity_by, self.exchange))
        return b"".join((_HEAD_LENGTH.pack(len(head)), head, self.body))

    @classmethod
    def from_bytes(cls, data: bytes) -> Call:
        """What `to_bytes` wrote. Raises ValueError where it is something else."""
        if len(data) < _HEAD_LENGTH.size:
            raise ValueError("a call without a head")
        (length,) = _HEAD_LENGTH.unpack_from(data)
        end = _HEAD_LENGTH.size + length
        if end > len(data):
            raise ValueError("a call whose head is cut off")
        try:
            head = _HEAD.validate_json(data[_HEAD_LENGTH.size : end])
        except ValidationError as error:
            raise ValueError(f"a call of another version of headrace: {error}") from error
        return cls(head.name, head.identity_by, head.exchange, data[end:])


@checked(frozen=True)
class _Head:
    name: str
    identity_by: IdentityBy
    exchange: Exchange
    format_version: Literal[1] = 1


_HEAD: Final = TypeAdapter(_Head)
