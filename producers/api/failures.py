"""What is said of a request that brought no page: found, expected, remedy; without secrets."""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus

from headrace.errors import ApiContentError, ApiError, ApiRefusedError, ApiUnavailableError
from headrace.producers.api.redaction import Redaction
from headrace.producers.api.retry import PassingError, said
from headrace.producers.api.sending import Answer


def told(answer: Answer, redaction: Redaction) -> str:
    """What an answer says of why it is none: `404 Not Found: no such coin`."""
    phrase = next((known.phrase for known in HTTPStatus if known == answer.status), "")
    status = f"{answer.status} {phrase}".strip()
    text = said(answer.body, redaction.text)
    return f"{status}: {text}" if text else status


def refused(answer: Answer, redaction: Redaction) -> ApiRefusedError:
    """The error for an answer that will not be another, however often it is asked for."""
    match answer.status:
        case 401:
            remedy = "check auth: the server does not know who is asking"
        case 403:
            remedy = "check what the account of auth is allowed to see"
        case 404 | 410:
            remedy = "check url, and its variables"
        case _:
            remedy = "check url, query, headers and body against the API's documentation"
    return ApiRefusedError(told(answer, redaction), remedy=remedy, status=answer.status)


def given_up(error: PassingError, tries: int, now: datetime, *, is_safe: bool) -> ApiError:
    """The error for what did not pass in time. `is_safe`: whether it may be sent more than once."""
    if error.was_done and not is_safe:
        return ApiUnavailableError(
            f"{error} (not sent again: a POST may have been carried out)",
            remedy="if it changes nothing on the server, set safe_to_repeat = true",
        )
    text = f"{error} (tried {'once' if tries == 1 else f'{tries} times'})"
    if error.is_content:
        return ApiContentError(text, remedy="look at what the address answers in a browser")
    until = None
    if error.wait is not None:
        until = now + timedelta(seconds=error.wait)
        text += f"; the server takes requests again at {until:%Y-%m-%d %H:%M:%S} UTC"
    return ApiUnavailableError(
        text, remedy="the next poll tries again; `retries` says how often each does", until=until
    )
