"""What API servers may send: headers, places to go to, packed bodies; whole answers at last.

Nothing of it raises more than it says, waits longer than it may, is larger than it may, or shows a
secret.
"""

from __future__ import annotations

import asyncio
import gzip
import random
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import structlog

from headrace.config_api import ApiSource
from headrace.errors import ApiError
from headrace.paths import ProjectPaths
from headrace.producers.api.content import charset, is_json_text
from headrace.producers.api.http_client import ApiClient
from headrace.producers.api.page import PageRequest
from headrace.producers.api.pagination import link_target
from headrace.producers.api.redaction import HIDDEN, Redaction
from headrace.producers.api.redirects import RedirectError, origin, redirected
from headrace.producers.api.request import page_request
from headrace.producers.api.response import (
    BodyDamagedError,
    BodyEncodingError,
    BodyTooLargeError,
    read_body,
)
from headrace.producers.api.retry import judge, said
from headrace.producers.api.server_limits import LONGEST_WAIT_SECONDS, server_limit
from support.replay_client import KeptCursors, TurnedClock, api_source

NOW: Final = datetime(2026, 10, 18, 12, tzinfo=UTC)
SECRET: Final = "s3cr+t/of ours"
HEADERS: Final = (
    ("Retry-After", "120"),
    ("Retry-After", "Sun, 18 Oct 2026 12:00:30 GMT"),
    ("Date", "Sun, 18 Oct 2026 11:59:59 GMT"),
    ("X-RateLimit-Remaining", "0"),
    ("X-RateLimit-Reset", "1792324830"),
    ("X-RateLimit-Reset-After", "1.5"),
    ("RateLimit", '"burst";r=50;t=30, "day";r=0;t=600'),
    ("RateLimit", "limit=100, remaining=0, reset=5"),
    ("Link", '<https://api.github.com/repositories/1/issues?page=2>; rel="next", <x>; rel=last'),
    ("Content-Type", 'application/json; charset="utf-8"; q=1'),
    ("Content-Encoding", "gzip"),
    ("Location", "https://api.example.com/next?page=2#there"),
    ("Location", "//other.example:8443/x"),
    ("ETag", 'W/"c68613ee6dced3d82d63f91f208eb84d"'),
    ("Last-Modified", "Sat, 15 May 2021 16:00:13 GMT"),
    ("Set-Cookie", "session=1; Path=/; HttpOnly"),
)
PIECES: Final = (
    *(
        "0",
        "-1",
        "99999999999999999999",
        "1e400",
        "NaN",
        "٣",
        ".",
        ",",
        ";",
        "=",
        '"',
        "\\",
        "<",
        ">",
    ),
    *(
        "\x00",
        "\x7f",
        "\xff",
        "\t",
        " " * 50,
        "a" * 5_000,
        '<">' * 500,
        "; a=" * 500,
        "//",
        "@",
        ":",
    ),
    *(
        "http://",
        "https://me:you@",
        "file:///",
        "[",
        "]",
        "%00",
        "%",
        "../",
        "?",
        "#",
        "&key=",
        "é",
    ),
)
BODIES: Final = (
    b"",
    b"[]",
    b'{"error":{"message":"no","errors":[{"detail":"x"}]}}',
    b'{"a": NaN}',
    b"\xef\xbb\xbf[]",
    b"<html>",
    b"[" * 3_000,
    '{"a":"é"}'.encode("utf-16"),
)
STATUSES: Final = (
    200,
    200,
    200,
    204,
    206,
    301,
    302,
    303,
    304,
    307,
    401,
    403,
    404,
    429,
    500,
    503,
    599,
)


def targets() -> dict[str, Callable[[random.Random], None]]:
    """By what is mutated."""
    return {
        "limits": limits,
        "links": links,
        "redirects": redirects,
        "bodies": bodies,
        "redaction": redaction,
        "answers": answers,
    }


def limits(chance: random.Random) -> None:
    """Headers that say when to ask again."""
    headers = hostile_headers(chance)
    judgement = judge(chance.choice(STATUSES), headers, NOW)
    limit = server_limit(headers, NOW)
    for wait in (judgement.wait, None if limit is None else limit.reset_in):
        assert wait is None or 0 <= wait <= LONGEST_WAIT_SECONDS


def links(chance: random.Random) -> None:
    """Headers that say where the next page is, and what it is written in."""
    link_target(hostile_headers(chance), "next")
    kind = mutated(chance, "application/json; charset=utf-8")
    charset(kind)
    is_json_text(mutated_bytes(chance, chance.choice(BODIES)), kind)


def redirects(chance: random.Random) -> None:
    """Places to go to."""
    url = "https://api.example.com/v1/items?page=1"
    request = PageRequest(url, chance.choice(("GET", "POST")), body=chance.choice((None, b"x")))
    try:
        target = redirected(
            request, url, chance.choice((301, 302, 303, 307, 308)), mutated(chance, "/next?a=1")
        )
    except RedirectError:
        return
    assert origin(target.url)[0] == "https"
    assert target.body is None or origin(target.url) == origin(url)
    assert "@" not in urlsplit(target.url).netloc


def bodies(chance: random.Random) -> None:
    """Packed bodies, cut anywhere."""
    body = chance.choice(BODIES) * chance.choice((1, 1, 100, 2_000))
    pack = chance.choice((gzip.compress, zlib.compress, bytes))
    packed = mutated_bytes(chance, b"".join(pack(body) for _ in range(chance.randint(1, 4))))
    encoding = chance.choice(("gzip", "deflate", None, mutated(chance, "gzip, br")))
    size = chance.randint(1, 500)
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    with suppress(BodyDamagedError, BodyEncodingError, BodyTooLargeError):
        assert len(asyncio.run(read_body(_pieces(pieces), encoding, 100_000))) <= 100_000


def redaction(chance: random.Random) -> None:
    """Texts with a secret in them."""
    text = mutated(chance, "https://h/x?key=1&page=2") + SECRET + mutated(chance, "&token=3 @")
    shown = Redaction([SECRET]).text(text)
    assert SECRET not in shown
    assert HIDDEN in shown
    said(mutated_bytes(chance, text.encode()), Redaction([SECRET]).text)


def answers(chance: random.Random) -> None:
    """Whole answers, one after the other, to one request."""
    clock = TurnedClock()
    source = api_source(
        "https://api.example.com/v1/items",
        auth={"kind": "bearer", "token": SECRET},
        max_response=10_000,
        daily_budget=50,
    )
    with tempfile.TemporaryDirectory() as folder, structlog.testing.capture_logs() as logged:
        asyncio.run(_fetch(chance, source, clock, Path(folder)))
    assert SECRET not in repr(logged)
    assert clock.slept <= source.retries.give_up_after + 1


async def _fetch(
    chance: random.Random, source: ApiSource, clock: TurnedClock, folder: Path
) -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host != "api.example.com":
            assert SECRET not in str(request.headers.raw)
        body = chance.choice(BODIES) + SECRET.encode() * chance.randint(0, 1)
        pieces = [gzip.compress(body) if chance.random() < 0.3 else mutated_bytes(chance, body)]
        headers = [
            (name.encode(), value.encode("latin-1", "replace"))
            for name, value in hostile_headers(chance)
        ]
        status = chance.choice(STATUSES)
        return httpx.Response(status, headers=headers, stream=_Stream(pieces))

    async with ApiClient(
        "fuzzed",
        source,
        paths=ProjectPaths(folder),
        cursors=KeptCursors(),
        clock=clock.for_client(),
        transport=httpx.MockTransport(answer),
    ) as client:
        try:
            page = await client.fetch(page_request(source, {}))
            shown = repr((page, page.exchange))
        except ApiError as error:
            shown = str(error)
    assert SECRET not in shown


class _Stream(httpx.AsyncByteStream):
    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def _pieces(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def hostile_headers(chance: random.Random) -> list[tuple[str, str]]:
    """Some real headers, each perhaps changed."""
    chosen = chance.choices(HEADERS, k=chance.randint(0, 8))
    return [(name, mutated(chance, value)) for name, value in chosen]


def mutated(chance: random.Random, text: str) -> str:
    """A text with pieces put in, cut out or repeated."""
    for _ in range(chance.randint(0, 3)):
        at = chance.randint(0, len(text))
        to = min(len(text), at + chance.randint(0, 5))
        text = text[:at] + chance.choice(PIECES) * chance.choice((0, 1, 1, 20)) + text[to:]
    return text[:200_000]


def mutated_bytes(chance: random.Random, data: bytes) -> bytes:
    """Bytes changed, cut or repeated."""
    changed = bytearray(data)
    for _ in range(chance.randint(0, 3)):
        at = chance.randint(0, len(changed))
        changed[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
    if chance.random() < 0.2:
        del changed[chance.randint(0, len(changed)) :]
    return bytes(changed)
