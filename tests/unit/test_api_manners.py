"""What headers say of when to ask again, and how requests are spread: pure decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config_api_manners import RateLimit
from headrace.producers.api.allowance import Allowance
from headrace.producers.api.budget import Spent, next_budget, spent_from
from headrace.producers.api.rate_limit import Pace
from headrace.producers.api.redaction import Redaction
from headrace.producers.api.retry import Meaning, judge, said
from headrace.producers.api.server_limits import (
    LONGEST_WAIT_SECONDS,
    ServerLimit,
    retry_after,
    server_limit,
)
from support.replay_client import KeptCursors, TurnedClock, api_source

NOW = datetime(2026, 10, 18, 12, 0, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("Sun, 18 Oct 2026 12:00:30 GMT", 30.0),
        ("Sunday, 18-Oct-26 12:00:30 GMT", 30.0),
        ("Sun Oct 18 12:00:30 2026", 30.0),
        ("Sun, 18 Oct 2026 14:00:30 +0200", 30.0),
        ("Sun, 18 Oct 2026 11:00:00 GMT", 0.0),
        ("99999999999999", LONGEST_WAIT_SECONDS),
        ("Sun, 18 Oct 2099 12:00:00 GMT", LONGEST_WAIT_SECONDS),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("1e9", None),
        ("Sun, 99 Oct 2026 12:00:30 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
    ],
)
def test_retry_after_has_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after([("Retry-After", value)], NOW) == seconds


def test_a_date_counts_from_the_server_s_clock() -> None:
    headers = [
        ("date", "Thu, 01 Jan 2015 00:00:00 GMT"),
        ("retry-after", "Thu, 01 Jan 2015 00:01:00 GMT"),
    ]
    assert retry_after(headers, NOW) == 60


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        # GitHub: seconds since 1970.
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(EPOCH + 90)}, ServerLimit(0, 90)),
        # By the server's own clock.
        (
            {
                "Date": "Sun, 18 Oct 2026 11:59:00 GMT",
                "X-RateLimit-Remaining": "3",
                "X-RateLimit-Reset": str(EPOCH),
            },
            ServerLimit(3, 60),
        ),
        # Seconds from now; milliseconds since 1970; a date; Discord's.
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "17"}, ServerLimit(0, 17)),
        (
            {"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": str((EPOCH + 5) * 1_000)},
            ServerLimit(1, 5),
        ),
        (
            {"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "2026-10-18T12:00:07Z"},
            ServerLimit(1, 7),
        ),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "1.25"}, ServerLimit(0, 1.25)),
        # The IETF's drafts, early and late.
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "30"}, ServerLimit(0, 30)),
        ({"RateLimit": "limit=100, remaining=0, reset=30"}, ServerLimit(0, 30)),
        ({"RateLimit": '"burst";r=50;t=3, "day";r=0;t=600'}, ServerLimit(0, 600)),
        ({"X-RateLimit-Remaining": "0"}, ServerLimit(0, None)),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "tomorrow"}, ServerLimit(0, None)),
        ({"X-RateLimit-Remaining": "many"}, None),
        ({"X-RateLimit-Limit": "60"}, None),
    ],
)
def test_a_server_s_limit_is_read_in_every_spelling(
    headers: dict[str, str], limit: ServerLimit | None
) -> None:
    assert server_limit(list(headers.items()), NOW) == limit


@pytest.mark.parametrize(
    ("status", "headers", "meaning", "wait"),
    [
        (200, {}, Meaning.PAGE, None),
        (304, {}, Meaning.PAGE, None),
        (202, {}, Meaning.AGAIN, None),
        (429, {}, Meaning.AGAIN, 60),
        (429, {"retry-after": "3"}, Meaning.AGAIN, 3),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9"}, Meaning.AGAIN, 9),
        (429, {"x-ratelimit-remaining": "7", "x-ratelimit-reset": "9"}, Meaning.AGAIN, 60),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9"}, Meaning.AGAIN, 9),
        (403, {"x-ratelimit-remaining": "7"}, Meaning.REFUSED, None),
        (403, {"retry-after": "3"}, Meaning.AGAIN, 3),
        (403, {}, Meaning.REFUSED, None),
        (503, {"retry-after": "3"}, Meaning.AGAIN, 3),
        (500, {}, Meaning.AGAIN, None),
        (404, {"retry-after": "3"}, Meaning.REFUSED, None),
        (206, {}, Meaning.REFUSED, None),
        (300, {}, Meaning.REFUSED, None),
        (501, {}, Meaning.REFUSED, None),
    ],
)
def test_what_an_answer_means(
    status: int, headers: dict[str, str], meaning: Meaning, wait: float | None
) -> None:
    judgement = judge(status, list(headers.items()), NOW)
    assert (judgement.meaning, judgement.wait) == (meaning, wait)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":"Missing parameter vs_currency"}', "Missing parameter vs_currency"),
        (b'{"status":{"error_code":429,"error_message":"Slow down"}}', "Slow down"),
        (b'{"errors":[{"title":"Bad","detail":"No such field"}]}', "No such field"),
        (b'{"reason":"Latitude must be in range","error":true}', "Latitude must be in range"),
        (b"<html>\r\n  <b>Bad gateway</b></html>", "<html> <b>Bad gateway</b></html>"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
        (b"[" * 4_000, "[" * 197 + "..."),
    ],
)
def test_what_a_server_said_is_found_in_its_answer(body: bytes, text: str) -> None:
    assert said(body, str) == text


def test_a_secret_is_hidden_before_what_was_said_is_cut() -> None:
    redaction = Redaction(["s3cret-token"])
    for filling in range(180, 205):
        assert "s3" not in said(b"x" * filling + b"s3cret-token", redaction.text)


@settings(deadline=None)
@given(
    requests=st.integers(1, 5),
    per=st.floats(0.1, 100),
    asked=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 200)), max_size=40),
)
def test_no_window_has_more_requests_than_the_limit(
    requests: int, per: float, asked: list[tuple[float, float]]
) -> None:
    pace = Pace(RateLimit(requests=requests, per=per))
    now, held = 0.0, float("-inf")
    given_times: list[float] = []
    for passed, hold in asked:
        now += passed
        if hold > 150:
            held = max(held, now + hold)
            pace.hold(now + hold)
        at = pace.reserve(now)
        assert at >= max(now, held)
        given_times.append(at)
    assert given_times == sorted(given_times)
    for early, late in zip(given_times, given_times[requests:], strict=False):
        assert late - early >= per - 1e-9


def test_without_a_limit_nobody_waits() -> None:
    pace = Pace(None)
    assert [pace.reserve(5.0) for _ in range(100)] == [5.0] * 100


def test_the_budget_is_a_new_one_each_utc_date() -> None:
    spent = spent_from(None, NOW.date())
    for _ in range(3):
        spent = spent_from(spent.one_more(NOW.date()).to_text(), NOW.date())
    assert spent == Spent(NOW.date(), 3)
    tomorrow = NOW.date() + timedelta(days=1)
    assert spent.one_more(tomorrow) == Spent(tomorrow, 1)
    assert spent_from("nonsense", NOW.date()).requests == 0
    far_east = datetime.fromisoformat("2026-10-19T01:00:00+14:00")
    assert next_budget(far_east) == datetime(2026, 10, 19, tzinfo=UTC)


async def test_who_waits_for_his_turn_waits_on_where_the_server_asks_for_it() -> None:
    clock = TurnedClock()

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        if len(clock.sleeps) == 1:
            await allowance.hold(30)  # as the answer to another request said

    source = api_source("https://api.example.com", rate_limit={"requests": 1, "per": 5})
    turned = replace(clock.for_client(), sleep=sleep)
    allowance = Allowance("prices", source, KeptCursors(), turned)
    await allowance.wait()
    await allowance.wait()
    assert clock.sleeps == [5, 30]
