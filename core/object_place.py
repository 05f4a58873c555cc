"""A prefix of an object store, as `path = "s3://bucket/prefix"` names it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_SCHEME: Final = "s3://"
# What S3 and those that speak like it accept, underscores and capitals of old buckets included.
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}\Z")


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A bucket and a prefix in it; the prefix is empty, or ends with `/`, as a folder would."""

    bucket: str
    prefix: str

    @property
    def uri(self) -> str:
        """The whole of it; what its objects' names are put behind."""
        return f"{_SCHEME}{self.bucket}/{self.prefix}"

    def holds(self, other: ObjectPlace) -> bool:
        """Whether all objects of the other are objects of this one."""
        return self.bucket == other.bucket and other.prefix.startswith(self.prefix)


def is_object_place(path: str) -> bool:
    """Whether a path names a place in an object store, well or badly."""
    return path.lower().startswith(_SCHEME)


def object_place(path: str) -> ObjectPlace:
    """The place that `s3://bucket/prefix` names; the prefix is taken as it stands, unescaped.

    Raises `ValueError` where it names none.
    """
    bucket, _, prefix = path[len(_SCHEME) :].partition("/")
    if not path.startswith(_SCHEME) or not _BUCKET.match(bucket):
        raise ValueError(f"expected s3://bucket/prefix, found {path!r}")
    prefix = prefix.rstrip("/")
    return ObjectPlace(bucket, prefix + "/" if prefix else "")
