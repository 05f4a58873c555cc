"""A caller of webhooks on a bare socket: little of its own to wait for, exact about what came."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HookCaller:
    """One connection, kept while it holds and made anew where it does not."""

    def __init__(self, port: int, path: str = "/hooks/hooks", host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self._start = f"POST {path} HTTP/1.1\r\nHost: {host}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hang_up()

    async def call(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Raises `OSError` or `EOFError` where there was no whole answer."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"{self._start}{lines}Content-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode("latin-1") + body)
            answer = await read_answer(reader)
        except BaseException:
            self.hang_up()
            raise
        if answer.headers.get("connection") == "close":
            self.hang_up()
        return answer

    def hang_up(self) -> None:
        """Close the connection."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """One answer with a length. Raises `EOFError` where it is not whole."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(first.split()[1]), headers, body)


def signed_as_github(
    secret: str, body: bytes, delivery: str, event: str = "push"
) -> dict[str, str]:
    """The headers that GitHub sends; the signature is made here, not by headrace."""
    mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={mac}",
    }
