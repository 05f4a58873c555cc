"""What a replay server sends, and the ways in which it may send it wrong."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came. `at`: seconds of the server's clock; header names in lower case."""

    method: str
    path: str
    query: Headers
    headers: Headers
    body: bytes
    at: float

    def header(self, name: str) -> str | None:
        """A header's value."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def argument(self, name: str) -> str | None:
        """A query variable's value."""
        return next((value for key, value in self.query if key == name), None)

    @property
    def target(self) -> str:
        """Path and query."""
        query = "&".join(f"{name}={value}" for name, value in self.query)
        return self.path + (f"?{query}" if query else "")

    def has(self, secret: str) -> bool:
        """Whether a text is anywhere in the request."""
        return secret.encode() in self.body or any(
            secret in part for pair in (*self.query, *self.headers) for part in (*pair, self.path)
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent. `pieces`: the body where it does not come at once.

    `says_length`: of the body, in its header, where that is not true. `not_before`: seconds after
    which the server wants to be asked again: whoever comes sooner is complained of.
    """

    status: int = 200
    headers: Headers = ()
    body: bytes = b""
    pieces: Callable[[], AsyncIterator[bytes]] | None = None
    says_length: int | None = None
    not_before: float | None = None

    def with_header(self, name: str, value: str) -> Answer:
        """With a header in the place of those of its name."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=(*kept, (name, value)))


Handler = Callable[[Seen], Answer]
"""Answers a request: what a server has under a path."""

Fault = Callable[[Seen, Answer], Answer]
"""Makes of the right answer a wrong one."""

_JSON = (("Content-Type", "application/json; charset=utf-8"),)


def json_answer(body: bytes, status: int = 200, *headers: tuple[str, str]) -> Answer:
    """An answer that is JSON."""
    return Answer(status, (*_JSON, *headers), body)


def nothing(status: int, _seen: Seen) -> Answer:
    """A handler's answer without a body."""
    return Answer(status)


# --- What a server says when it does not want to.


def too_many_in_seconds(seconds: int) -> Fault:
    """429 with the seconds to wait."""
    headers = (("Retry-After", str(seconds)), *_JSON)
    return _instead(Answer(429, headers, _COINGECKO_429, not_before=seconds))


def too_many_until(seconds: int, server_now: datetime) -> Fault:
    """429 with a date, by the server's clock, which may be another than everybody's."""
    at = format_datetime((server_now + timedelta(seconds=seconds)).astimezone(UTC), usegmt=True)
    now = format_datetime(server_now.astimezone(UTC), usegmt=True)
    headers = (("Retry-After", at), ("Date", now), *_JSON)
    return _instead(Answer(429, headers, _COINGECKO_429, not_before=seconds))


def too_many_untold() -> Fault:
    """429 as CoinGecko sends it: nothing says for how long."""
    return _instead(Answer(429, _JSON, _COINGECKO_429))


def github_limit(reset: float, wait: float, status: int = 403) -> Fault:
    """GitHub's: a 403 or 429 with no request remaining until `reset`, seconds since 1970."""
    headers = (
        ("X-RateLimit-Limit", "60"),
        ("X-RateLimit-Remaining", "0"),
        ("X-RateLimit-Reset", str(int(reset))),
        *_JSON,
    )
    body = b'{"message":"API rate limit exceeded for 203.0.113.7."}'
    return _instead(Answer(status, headers, body, not_before=wait))


def status(code: int, body: bytes = b'{"error":"Internal Server Error"}') -> Fault:
    """That status, whatever was asked for."""
    return _instead(Answer(code, _JSON, body))


def redirect(to: str, code: int = 302) -> Fault:
    """To another place."""
    return _instead(Answer(code, (("Location", to),)))


# --- What goes wrong on the way.


def body_cut(_seen: Seen, answer: Answer) -> Answer:
    """Half of the body; then the connection is closed."""
    half = answer.body[: len(answer.body) // 2]
    return replace(answer, body=half, says_length=len(answer.body))


def gzip_cut(_seen: Seen, answer: Answer) -> Answer:
    """A packed body that ends too early, in a transfer that is whole."""
    packed = gzip.compress(answer.body)
    return replace(answer, body=packed[: len(packed) // 2]).with_header("Content-Encoding", "gzip")


def dribble(seconds_between: float) -> Fault:
    """A byte at a time."""

    def fault(_seen: Seen, answer: Answer) -> Answer:
        async def pieces() -> AsyncIterator[bytes]:
            for byte in answer.body:
                yield bytes([byte])
                await asyncio.sleep(seconds_between)

        return replace(answer, pieces=pieces)

    return fault


def hang(_seen: Seen, answer: Answer) -> Answer:
    """Headers, and then nothing more."""

    async def pieces() -> AsyncIterator[bytes]:
        yield answer.body[:1]
        await asyncio.Event().wait()

    return replace(answer, pieces=pieces)


def huge(total_bytes: int) -> Fault:
    """A body that goes on and on, and does not say so before."""

    def fault(_seen: Seen, answer: Answer) -> Answer:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"["
            for _ in range(total_bytes // 2**16):
                yield b"1,".ljust(2**16)
            yield b"1]"

        return replace(answer, pieces=pieces)

    return fault


def gzip_bomb(total_bytes: int, times: int = 1) -> Fault:
    """Few bytes that become many; packed more than once, they become more."""
    body = bytes(total_bytes)
    for _ in range(times):
        body = gzip.compress(body, compresslevel=9)
    encoding = ", ".join(["gzip"] * times)

    def fault(_seen: Seen, answer: Answer) -> Answer:
        return replace(answer, body=body).with_header("Content-Encoding", encoding)

    return fault


def bare_deflate(_seen: Seen, answer: Answer) -> Answer:
    """What some servers mean by deflate."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = packer.compress(answer.body) + packer.flush()
    return replace(answer, body=body).with_header("Content-Encoding", "deflate")


def packed_as(encoding: str) -> Fault:
    """Says that it is packed in that way; it is not."""
    return lambda _seen, answer: answer.with_header("Content-Encoding", encoding)


def not_json(_seen: Seen, answer: Answer) -> Answer:
    """A web page, as a proxy or a login has it, called a success."""
    html = b"<!doctype html><title>Please sign in</title>"
    return replace(answer, body=html).with_header("Content-Type", "text/html")


def broken_json(_seen: Seen, answer: Answer) -> Answer:
    """JSON that ends in the middle; all that was sent has come."""
    return replace(answer, body=answer.body[:-2])


def called(content_type: str) -> Fault:
    """The right body under another content type."""
    return lambda _seen, answer: answer.with_header("Content-Type", content_type)


def fine(_seen: Seen, answer: Answer) -> Answer:
    """No fault: what comes between two."""
    return answer


def _instead(answer: Answer) -> Fault:
    return lambda _seen, _right: answer


_COINGECKO_429 = (
    b'{"status":{"error_code":429,"error_message":"You\'ve exceeded the Rate Limit. Please visit'
    b" https://www.coingecko.com/en/api/pricing to subscribe to our API plans for higher rate"
    b' limits."}}'
)
