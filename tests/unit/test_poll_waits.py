"""A poll that waits for its server says so: in the producer's figures, and to who looks on."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from headrace.cli.progress import QuietProgress
from headrace.paths import ProjectPaths
from headrace.producers.api.http_client import ApiClient
from headrace.producers.api.page import PageRequest
from support.replay_client import KeptCursors, TurnedClock, api_source

URL = "https://api.example.com/items"


async def waits_of(answers: list[int], root: Path) -> list[str]:
    """What is said of a request that gets these answers, one after the other."""
    said: list[str] = []
    async with ApiClient(
        "prices",
        api_source(URL),
        paths=ProjectPaths(root),
        cursors=KeptCursors(),
        clock=TurnedClock().for_client(),
        transport=httpx.MockTransport(
            lambda _: httpx.Response(answers.pop(0), stream=httpx.ByteStream(b"[]"))
        ),
        on_wait=said.append,
    ) as client:
        await client.fetch(PageRequest(URL))
    assert answers == []
    return said


async def test_a_request_that_waits_says_why_and_until_when(tmp_path: Path) -> None:
    first, second = await waits_of([429, 429, 200], tmp_path)
    assert first.startswith("prices: 429 Too Many Requests: []: asked again at 12:01:0")
    assert first.endswith(" UTC (try 2 of 5)")
    assert second.endswith(" UTC (try 3 of 5)")


async def test_a_moment_is_not_worth_a_word(tmp_path: Path) -> None:
    assert await waits_of([503, 200], tmp_path) == []


def test_what_a_run_waits_for_is_a_line_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = QuietProgress()
    for waits in ([], ["a: 429"], ["a: 429"], ["a: 429", "b: 429"], []):
        progress.produced({"deliveries_total": 1, "waits": waits})
    assert capsys.readouterr().err.splitlines() == ["a: 429", "b: 429"]
