"""Bodies unpacked piece by piece, and secrets taken out of what is shown."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.producers.api.content import is_json_text
from headrace.producers.api.redaction import Redaction
from headrace.producers.api.response import (
    BodyDamagedError,
    BodyEncodingError,
    BodyTooLargeError,
    read_body,
)


async def pieces_of(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def unpacked(
    body: bytes, encoding: str | None, limit: int = 10**6, size: int = 1_000
) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return await read_body(pieces_of(pieces), encoding, limit)


@settings(deadline=None)
@given(
    members=st.lists(st.binary(max_size=2_000), min_size=1, max_size=4),
    size=st.integers(1, 300),
    padding=st.integers(0, 5),
)
async def test_any_cutting_of_a_body_gives_the_same_bytes(
    members: list[bytes], size: int, padding: int
) -> None:
    body = b"".join(members)
    packed = b"".join(gzip.compress(member) for member in members) + bytes(padding)
    assert await unpacked(packed, "gzip", size=size) == body
    assert await unpacked(body, None, size=size) == body
    assert await unpacked(zlib.compress(body), "deflate", size=size) == body
    bare = zlib.compressobj(wbits=-15)
    assert await unpacked(bare.compress(body) + bare.flush(), "Deflate", size=size) == body


@pytest.mark.parametrize("keep", [1, 10, -9, -1])
async def test_a_body_that_ends_too_early_is_damaged(keep: int) -> None:
    packed = gzip.compress(bytes(range(256)) * 20)
    with pytest.raises(BodyDamagedError):
        await unpacked(packed[:keep], "gzip")


async def test_what_is_no_gzip_is_damaged() -> None:
    for body in (b"[1, 2, 3]", gzip.compress(b"[]") + b"more"):
        with pytest.raises(BodyDamagedError):
            await unpacked(body, "gzip")


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd", "gzip, br", "x" * 1_000])
async def test_what_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(BodyEncodingError) as error:
        await unpacked(b"", encoding)
    assert len(str(error.value)) <= 60


async def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000), 1)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            await unpacked(bomb, "gzip", limit=2_000_000, size=len(bomb))
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


async def test_members_without_end_are_damaged() -> None:
    with pytest.raises(BodyDamagedError, match="members"):
        await unpacked(gzip.compress(b"") * 1_001, "gzip", size=20_020)


async def test_the_limit_is_the_last_size_that_is_taken() -> None:
    for encoding, body in ((None, bytes(100)), ("gzip", gzip.compress(bytes(100)))):
        assert len(await unpacked(body, encoding, limit=100)) == 100
        with pytest.raises(BodyTooLargeError):
            await unpacked(body, encoding, limit=99)


@pytest.mark.parametrize(
    ("body", "content_type", "is_json"),
    [
        (b'{"a": 1}', "", True),
        (b'\xef\xbb\xbf{"a": 1}', "application/json", True),
        ('{"a": "é"}'.encode("utf-16"), "application/json", True),
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=iso-8859-1", True),
        ('{"a": "é"}'.encode("latin-1"), "application/json", False),
        (b'{"a": NaN}', "application/json", True),
        (b'{"a": 1', "application/json", False),
        (b"[" * 100_000, "application/json", False),
        (b"[]", "application/json; charset=no-such-thing", True),
        (b"\xe9", "application/json; charset=no-such-thing", False),
        (b"\xe9", 'application/json; charset="', False),
    ],
)
def test_json_is_known_by_its_bytes(body: bytes, content_type: str, is_json: bool) -> None:
    assert is_json_text(body, content_type) is is_json


# --- Secrets.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /x?a=1&api_key=K1&b=2", "GET /x?a=1&api_key=***&b=2"),
        ("https://h/x?appid=K1", "https://h/x?appid=***"),
        (
            '<https://h/x?access_token=K1&page=2>; rel="next"',
            '<https://h/x?access_token=***&page=2>; rel="next"',
        ),
        ("https://h/x?x_cg_demo_api_key=K1", "https://h/x?x_cg_demo_api_key=***"),
        (
            "https://h/x?X-Amz-Signature=K1&X-Amz-Date=1",
            "https://h/x?X-Amz-Signature=***&X-Amz-Date=1",
        ),
        ("https://me:K1@h/x", "https://***@h/x"),
        # These say where a page is.
        (
            "https://h/x?page_token=K1&cursor=c&keyword=k",
            "https://h/x?page_token=K1&cursor=c&keyword=k",
        ),
        ("https://h/x?nextToken=K1&signed=1", "https://h/x?nextToken=K1&signed=1"),
    ],
)
def test_what_an_address_calls_secret_is_hidden(text: str, shown: str) -> None:
    assert Redaction().text(text) == shown


@settings(deadline=None)
@given(
    secret=st.text(min_size=4, max_size=30).filter(
        lambda text: text.strip("*") and text.isprintable()
    ),
    before=st.text(max_size=10),
    after=st.text(max_size=10),
)
def test_a_secret_is_hidden_wherever_it_stands(secret: str, before: str, after: str) -> None:
    shown = Redaction([secret]).text(before + secret + after)
    assert secret not in shown or secret in before + "***" + after


def test_what_is_learned_later_is_hidden_from_then_on() -> None:
    redaction = Redaction()
    assert redaction.text("token-1") == "token-1"
    redaction.add("token-1", "token-12")
    assert redaction.text("a token-12 b token-1") == "a *** b ***"


def test_the_config_s_name_of_a_key_hides_it_however_short() -> None:
    assert Redaction(["abc"], ["k"]).text("/x?k=abc&l=abc") == "/x?k=***&l=abc"
