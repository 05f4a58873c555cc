"""A JMESPath expression applied to what a server sent: whatever that is, an answer or an error."""

from __future__ import annotations

from functools import lru_cache

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from headrace.errors import HeadraceError

_compiled = lru_cache(maxsize=256)(jmespath.compile)


class SearchError(HeadraceError):
    """An expression cannot be applied to what the server sent."""


def search(path: str, document: object) -> object:
    """What stands there; None where nothing does. Raises `SearchError`."""
    expression: ParsedResult = _compiled(path)
    try:
        return expression.search(document)
    except (
        JMESPathError,
        TypeError,
    ) as error:  # a comparison of a text with a number is the latter
        raise SearchError(
            f"the expression {path!r} cannot be applied to what came: {error}",
            remedy="check it in the source; https://jmespath.org has examples",
        ) from error
