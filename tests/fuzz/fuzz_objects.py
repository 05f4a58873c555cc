"""What an S3 server, or whatever answers in its place, says: listings and objects, mutated."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from botocore.awsrequest import AWSRequest, AWSResponse

from headrace.errors import HeadraceError
from headrace.object_place import object_place
from headrace.producers.folders.scan import WantedNames
from headrace.producers.objects.listing import origin_of, wanted_objects
from headrace.producers.objects.store import ObjectStore, StoredObject
from headrace.storage_options import storage_options

_OPTIONS: Final = {
    "aws_access_key_id": "id",
    "aws_secret_access_key": "secret",
    "aws_endpoint_url": "https://127.0.0.1:9",
    "max_retries": "0",
}
_KEYS: Final = ("in/a.csv", "in/b%2Fc.csv", "in//", "in/../x", "in/&#x85;", "in/%", "%FF", "", "ü")
_TAGS: Final = ("Key", "ETag", "Size", "LastModified", "Contents", "IsTruncated", "EncodingType")
_TIMES: Final = ("2026-11-21T10:00:00.000Z", "Sat, 21 Nov 2026 10:00:00 GMT", "soon", "", "9" * 30)
_STATUS: Final = (200, 200, 200, 200, 204, 206, 301, 307, 400, 403, 404, 412, 416, 500, 503)
_TOO_MANY_PAGES: Final = 50


class _Body(io.BytesIO):
    """What botocore reads an answer from."""

    def stream(self, amount: int = 1024, **_: object) -> Iterator[bytes]:
        while chunk := self.read(amount):
            yield chunk


def _listing(rng: random.Random) -> bytes:
    entries = "".join(
        f"<Contents><Key>{rng.choice(_KEYS)}</Key><ETag>&quot;{rng.random()}&quot;</ETag>"
        f"<Size>{rng.choice((0, 1, -1, 2**70, '', 'x'))}</Size>"
        f"<LastModified>{rng.choice(_TIMES)}</LastModified></Contents>"
        for _ in range(rng.randrange(4))
    )
    truncated = rng.choice(("true", "false", "", "perhaps"))
    token = rng.choice(("", "<NextContinuationToken>t</NextContinuationToken>"))
    encoding = rng.choice(("", "<EncodingType>url</EncodingType>"))
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{truncated}</IsTruncated>{token}{encoding}{entries}</ListBucketResult>"
    )
    if rng.random() < 0.3:
        tag = rng.choice(_TAGS)
        text = text.replace(f"<{tag}>", f"<{rng.choice(_TAGS)}>", 1)
    if rng.random() < 0.3:
        tag = rng.choice(_TAGS)
        text = text.replace(f"<{tag}>", "", 1).replace(f"</{tag}>", "", 1)
    return text.encode()


def _answer(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.1:
        return rng.choice((b"", b"<html>Welcome</html>", b"{}", b"\x00", b"<Error><Code/></Error>"))
    data = bytearray(_listing(rng))
    if kind < 0.4:
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    if kind < 0.2:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def _store(rng: random.Random) -> ObjectStore:
    store = ObjectStore(object_place("s3://bucket/in"), storage_options(_OPTIONS, {}), _CLIENT)

    def answer(request: AWSRequest, **_: object) -> AWSResponse:
        headers = {
            "ETag": rng.choice(('"e"', "")),
            "Content-Length": rng.choice(("3", "0", "-1", "x")),
            "Last-Modified": rng.choice(_TIMES),
            "Content-Range": rng.choice(("", "bytes 1-2/3", "bytes 0-0/*")),
        }
        kept = {name: value for name, value in headers.items() if rng.random() < 0.8}
        body = _Body(_answer(rng))
        return AWSResponse(request.url, rng.choice(_STATUS), kept, body)

    events = _CLIENT.meta.events
    events.unregister("before-send.s3", unique_id="fuzz")
    events.register("before-send.s3", answer, unique_id="fuzz")
    return store


_CLIENT: Final[Any] = ObjectStore(
    object_place("s3://bucket/in"), storage_options(_OPTIONS, {})
)._client


def _list(rng: random.Random) -> None:
    store = _store(rng)
    wanted = WantedNames(["*"], marker=rng.choice((None, ".done", "_SUCCESS")))
    try:
        for number, page in enumerate(store.pages(rng.choice((None, "in/a")))):
            assert number < _TOO_MANY_PAGES, "it lists for ever"
            stats, _ = wanted_objects(store.place, page, wanted)
            for stat in stats:
                assert origin_of(store.place, stat).inode < 2**63
                assert -(2**63) <= stat.size < 2**63
                assert -(2**63) <= stat.mtime_ns < 2**63
    except HeadraceError:
        return


def _read(rng: random.Random) -> None:
    store = _store(rng)
    stored = StoredObject("in/a.csv", '"e"', rng.choice((0, 1, 3, 2_000)), 0)
    try:
        read = sum(map(len, store.chunks(stored)))
        assert read == stored.size
        store.find("in/a.csv")
        store.delete(stored)
    except HeadraceError:
        return


def targets() -> dict[str, Callable[[random.Random], None]]:
    """What S3 answers to a listing, and to a download."""
    return {"object listings": _list, "object downloads": _read}
