"""Secrets out of what is shown: names, messages, logs, and what the spool keeps of an exchange."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote, quote_plus

HIDDEN: Final = "***"
# A shorter text is found in too much that is none: it is hidden where it is known to stand.
_SHORTEST: Final = 4
# What names a secret in an address, whoever put it there: a server's own next page may have one.
_SECRET_NAME: Final = re.compile(
    r"(?:api|access|auth|refresh|client|private|consumer|subscription)[-_.]?(?:key|token|secret)"
    r"|(?:^|[-_.])(?:secret|passwd|password|signature|credential|security-token)$"
    r"|^(?:key|token|sig|appid|auth|jwt|bearer)$",
    re.IGNORECASE,
)
_PAIR: Final = re.compile(r"([?&;])([^=&;?#\s<>\"']{1,100})=([^&;#\s<>\"']*)")
_USER: Final = re.compile(r"(\b\w{1,20}://)[^/?#\s@]{1,200}@")
_SECRET_HEADERS: Final = frozenset(
    {"authorization", "proxy-authorization", "set-cookie", "set-cookie2", "cookie"}
)


class Redaction:
    """Knows the secrets of one source. `names`: of query variables whose values are secret."""

    def __init__(self, secrets: Iterable[str] = (), names: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._whole: set[str] = set()
        self._names = {name.lower() for name in names}
        self._pattern: re.Pattern[str] | None = None
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Hide these from now on, in every way they may be written."""
        self._whole.update(secret for secret in secrets if secret)
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        if not forms <= self._secrets:
            self._secrets |= forms
            longest_first = sorted(self._secrets, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def text(self, text: str) -> str:
        """A text without secrets; addresses in it are looked into as well."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        if "=" in text:
            text = _PAIR.sub(self._hide_pair, text)
        return _USER.sub(rf"\1{HIDDEN}@", text) if "@" in text else text

    def holds(self, text: str) -> bool:
        """Whether a secret stands in a text, or is it."""
        found = self._pattern is not None and self._pattern.search(text) is not None
        return found or text in self._whole

    def is_credential(self, name: str, value: str) -> bool:
        """Whether a query variable is one that the config adds or supplied as a secret."""
        return name.lower() in self._names or self.holds(value)

    def headers(self, headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Headers as they may be kept: cookies are hidden whole."""
        return tuple(
            (name, HIDDEN if name.lower() in _SECRET_HEADERS else self.text(value))
            for name, value in headers
        )

    def hides_name(self, name: str) -> bool:
        """Whether a query variable's value is secret by its name."""
        return name.lower() in self._names or bool(_SECRET_NAME.search(name))

    def _hide_pair(self, match: re.Match[str]) -> str:
        before, name, value = match.groups()
        return f"{before}{name}={HIDDEN if value and self.hides_name(name) else value}"


def _forms(secret: str) -> set[str]:
    """As it is, in an address, in JSON, in base64."""
    encoded = base64.b64encode(secret.encode()).decode()
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        encoded,
    }
