"""One prefix of an S3 bucket: listed in pages, read in chunks, copied, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from headrace.errors import HeadraceError
from headrace.object_place import ObjectPlace
from headrace.producers.objects.client import s3_client
from headrace.producers.objects.errors import (
    ObjectChangedError,
    ObjectStoreError,
    ObjectUnreadableError,
    store_error,
)
from headrace.storage_options import StorageOptions

PAGE_KEYS: Final = 1_000
_CHUNK_BYTES: Final = 2**20
# A download that was cut goes on where it stood; so often without a byte in between.
_RESUMES: Final = 3
# S3 copies no more than this in one request.
_COPY_BYTES: Final = 5 * 2**30
_COPY_PART_BYTES: Final = 512 * 2**20
_NOT_SO: Final = 412
_MAX_BYTES: Final = 2**60
_SHOWN_CHARACTERS: Final = 300
# What botocore, and reading what it gives, raises where an answer is XML of another kind.
_OF_NONSENSE: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store has it; `etag` changes with its content, quotes and all."""

    key: str
    etag: str
    size: int
    modified_ns: int


class ObjectStore:
    """The objects below a place. Its methods block; safe between threads.

    All raise `ObjectStoreError` where the store gives nothing, and for one object
    `ObjectUnreadableError`, or `ObjectChangedError` where it is not the one it was.
    """

    def __init__(self, place: ObjectPlace, options: StorageOptions, client: Any = None) -> None:
        self.place = place
        self._options = options
        self._client = s3_client(options) if client is None else client
        self._payer = {"RequestPayer": "requester"} if options.request_payer else {}

    def pages(
        self, after: str | None = None, *, recursive: bool = True
    ) -> Iterator[list[StoredObject]]:
        """Every object of the place in the order of keys, those behind the key `after` alone.

        At most `PAGE_KEYS` at a time are held.
        """
        asked: dict[str, Any] = {"Bucket": self.place.bucket, "Prefix": self.place.prefix}
        asked |= {"MaxKeys": PAGE_KEYS, **self._payer}
        if after is not None:
            asked["StartAfter"] = after
        if not recursive:
            asked["Delimiter"] = "/"
        while True:
            try:
                with self._asking(f"s3:ListBucket on {self.place.bucket}"):
                    page = self._client.list_objects_v2(**asked)
                    listed = [_listed(entry, asked["Prefix"]) for entry in page.get("Contents", ())]
                    token = page["NextContinuationToken"] if page.get("IsTruncated") else None
                    if token is not None and token == asked.get("ContinuationToken"):
                        raise ValueError("the next page is the same one")
            except (ObjectChangedError, ObjectUnreadableError) as error:
                raise ObjectStoreError(error.message, remedy=error.remedy) from error
            yield listed
            if token is None:
                return
            asked["ContinuationToken"] = token

    def find(self, key: str) -> StoredObject | None:
        """The object of this key as it is now; None where there is none."""
        try:
            with self._asking(f"s3:GetObject on {key}"):
                head = self._client.head_object(Bucket=self.place.bucket, Key=key, **self._payer)
                modified = _nanoseconds(head["LastModified"])
                return StoredObject(key, head["ETag"], head["ContentLength"], modified)
        except ObjectChangedError:
            return None

    def chunks(self, stored: StoredObject) -> Iterator[bytes]:
        """Its bytes, in order; only while it is the very object that was listed.

        An answer that is cut is asked for again, from where it stood.
        """
        position, tries = 0, 0
        while True:
            body = self._body(stored, position)
            before = position
            failure: HeadraceError | None = None
            try:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    position += len(chunk)
                    if position > stored.size:
                        raise _not_whole(stored, position)
                    yield chunk
            except (BotoCoreError, OSError) as error:
                failure = self._meant(error, f"s3:GetObject on {stored.key}")
            finally:
                body.close()
            if position == stored.size:
                return
            tries = 0 if position > before else tries + 1
            if tries > _RESUMES:
                raise failure or _not_whole(stored, position)

    def copy(self, stored: StoredObject, to: ObjectPlace, key: str) -> StoredObject:
        """Copy an object that is still as it was, within the store; what it became."""
        source = {"Bucket": self.place.bucket, "Key": stored.key}
        only_this = {"CopySourceIfMatch": stored.etag, **self._payer}
        with self._asking(f"s3:PutObject on {key} in {to.bucket}", to.bucket):
            if stored.size <= _COPY_BYTES:
                self._client.copy_object(Bucket=to.bucket, Key=key, CopySource=source, **only_this)
            else:
                self._client.copy(source, to.bucket, key, ExtraArgs=only_this, Config=_in_parts())
        copied = self.at(to).find(key)
        if copied is None:
            raise ObjectUnreadableError(f"its copy {key} in {to.bucket} is not there")
        if copied.size != stored.size:  # of a store that knows no condition here
            raise ObjectChangedError("it was replaced while it was copied")
        return copied

    def delete(self, stored: StoredObject) -> None:
        """Delete an object that is still as it was.

        Not every store deletes on condition: so it is looked at just before as well.
        """
        now = self.find(stored.key)
        if now is None or now.etag != stored.etag:
            raise ObjectChangedError("it was replaced or deleted since it was listed")
        this = {"Bucket": self.place.bucket, "Key": stored.key, **self._payer}
        with self._asking(f"s3:DeleteObject on {stored.key}"):
            try:
                self._client.delete_object(**this, IfMatch=stored.etag)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "NotImplemented":
                    raise
                self._client.delete_object(**this)

    def refuses_the_second(self, key: str) -> bool:
        """Whether of two that write the same new object the second is refused.

        That is what tables in a store rest on. The object is deleted again.
        """
        asked = {"Bucket": self.place.bucket, "Key": self.place.prefix + key, "Body": b""}
        with self._asking(f"s3:PutObject on {asked['Key']}"):
            try:
                self._client.put_object(**asked, IfNoneMatch="*")
                self._client.put_object(**asked, IfNoneMatch="*")
            except ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode") != _NOT_SO:
                    raise
                return True
            finally:
                self._client.delete_object(Bucket=asked["Bucket"], Key=asked["Key"])
        return False

    def at(self, place: ObjectPlace) -> ObjectStore:
        """The same store, at another place."""
        return ObjectStore(place, self._options, self._client)

    def _body(self, stored: StoredObject, position: int) -> Any:
        asked = {"Bucket": self.place.bucket, "Key": stored.key, "IfMatch": stored.etag}
        if position:
            asked["Range"] = f"bytes={position}-"
        with self._asking(f"s3:GetObject on {stored.key}"):
            answer = self._client.get_object(**asked, **self._payer)
        if position and not answer.get("ContentRange", "").startswith(f"bytes {position}-"):
            answer["Body"].close()
            raise ObjectUnreadableError(
                "its download was cut, and the store cannot go on in the middle of an object",
                remedy="check the network between here and the store",
            )
        return answer["Body"]

    @contextmanager
    def _asking(self, doing: str, bucket: str | None = None) -> Iterator[None]:
        """Turn what asking raises into what it means; `doing`: the permission it takes."""
        try:
            yield
        except (ClientError, BotoCoreError, OSError) as error:
            raise self._meant(error, doing, bucket) from error
        except (ResponseParserError, *_OF_NONSENSE) as error:
            raise ObjectStoreError(
                f"what answers there is no object store: {error!r}"[:_SHOWN_CHARACTERS],
                remedy="check aws_endpoint_url: host, port, and whether a proxy answers instead",
            ) from error

    def _meant(
        self, error: ClientError | BotoCoreError | OSError, doing: str, bucket: str | None = None
    ) -> HeadraceError:
        where = bucket or self.place.bucket
        return store_error(error, doing=doing, bucket=where, region=self._options.region)


def _not_whole(stored: StoredObject, found_bytes: int) -> ObjectUnreadableError:
    return ObjectUnreadableError(
        f"the store gave {found_bytes:,} of its {stored.size:,} bytes",
        remedy="it is tried again later",
    )


def _in_parts() -> TransferConfig:
    return TransferConfig(multipart_threshold=_COPY_BYTES, multipart_chunksize=_COPY_PART_BYTES)


def _nanoseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000


def _listed(entry: dict[str, Any], prefix: str) -> StoredObject:
    key, size = entry["Key"], entry["Size"]
    if not key.startswith(prefix):
        raise ValueError(f"a listing of {prefix} has {key}")
    if not 0 <= size <= _MAX_BYTES:
        raise ValueError(f"{key} has {size} bytes")
    return StoredObject(key, entry["ETag"], size, _nanoseconds(entry["LastModified"]))
