"""A call's headers: looked up by name in any case, and what of them is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

# Who sees the spool may not call in a caller's name.
_SECRET: Final = frozenset({"authorization", "proxy-authorization", "cookie"})


class Headers:
    """The headers of one call, in their order."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs = tuple(pairs)
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in self.pairs:
            self._by_name[name.lower()].append(value)

    def all(self, name: str) -> list[str]:
        """Every value that one name has."""
        return self._by_name.get(name.lower(), [])

    def only(self, name: str) -> str | None:
        """The value of a name that stands there once and is not empty; else None."""
        values = self.all(name)
        return values[0].strip() or None if len(values) == 1 else None

    def starting(self, prefix: str) -> dict[str, str]:
        """The values of names that begin so, by the (lower-case) rest of the name."""
        return {
            name.removeprefix(prefix): values[0]
            for name, values in self._by_name.items()
            if name.startswith(prefix) and len(values) == 1
        }

    def without_secrets(self, token_header: str | None) -> tuple[tuple[str, str], ...]:
        """What may be kept. `token_header`: where the caller puts a shared token."""
        secret = _SECRET if token_header is None else {*_SECRET, token_header.lower()}
        return tuple((name, value) for name, value in self.pairs if name.lower() not in secret)

    @property
    def content_type(self) -> str:
        """What the body is, in lower case and without parameters; empty where that is not said."""
        value = self.only("content-type") or ""
        return value.partition(";")[0].strip().lower()

    @property
    def content_encoding(self) -> str | None:
        """How the body is compressed; None where it is not."""
        values = [value.strip().lower() for value in self.all("content-encoding")]
        return next((value for value in values if value not in ("", "identity")), None)

    @property
    def charset(self) -> str | None:
        """The encoding that the content type names."""
        for part in (self.only("content-type") or "").split(";")[1:]:
            name, _, value = part.strip().partition("=")
            if name.strip().lower() == "charset":
                return value.strip().strip('"').lower() or None
        return None
