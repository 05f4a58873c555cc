"""Whether an answer is what was expected: by its bytes, as servers often call them wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from email.message import Message
from typing import Final

import orjson

from headrace.producers.api.page import Expected
from headrace.producers.api.retry import said
from headrace.producers.api.sending import Answer

_LARGE_BYTES: Final = 256 * 2**10
_SHOWN_BYTES: Final = 64 * 2**10
_LONGEST_TYPE: Final = 200


async def what_is_wrong(
    answer: Answer, expected: Expected, hide: Callable[[str], str]
) -> str | None:
    """Why an answer is no page; None where it is one. A large one is looked at in a thread.

    `hide` takes secrets out of a text.
    """
    if expected == "any":
        return None
    if not answer.body.strip():
        return "the answer is empty, expected JSON"
    kind = next((v for name, v in answer.headers if name == "content-type"), "")
    if len(answer.body) < _LARGE_BYTES:
        is_json = is_json_text(answer.body, kind)
    else:
        is_json = await asyncio.to_thread(is_json_text, answer.body, kind)
    if is_json:
        return None
    called = f" ({kind[:60]})" if kind else ""
    return f"the answer is not JSON{called}: {said(answer.body[:_SHOWN_BYTES], hide)}"


def is_json_text(body: bytes, content_type: str) -> bool:
    """Whether a body is JSON, in the encoding its content type names or in one of Unicode's."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return _is_json_otherwise(body, charset(content_type))
    return True


def charset(content_type: str) -> str | None:
    """The encoding that a content type names, if any."""
    message = Message()
    message["content-type"] = content_type[:_LONGEST_TYPE]  # long ones take long to read
    found = message.get_param("charset")
    return found if isinstance(found, str) else None


def _is_json_otherwise(body: bytes, encoding: str | None) -> bool:
    """By Python's reader, which takes a byte order mark, UTF-16 and NaN as well."""
    try:
        json.loads(body if encoding is None else body.decode(encoding))
    except (ValueError, LookupError, RecursionError):
        return False
    return True
