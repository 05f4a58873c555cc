"""How an object store is reached: options as delta-rs names them, from the config or `AWS_*`.

One name means the same for a source as for `[lake] options`. What only concerns the writing of
tables is accepted and has no effect, so that both may be the same.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headrace.units import parse_duration

_DEFAULT_REGION: Final = "us-east-1"
# The same as a lake is opened with: a store that hangs must not hold up a role for long.
_TIMEOUT_SECONDS: Final = 30.0
_CONNECT_TIMEOUT_SECONDS: Final = 5.0
_RETRIES: Final = 2

_NAMES: Final = {
    "access_key_id": "access_key_id",
    "secret_access_key": "secret_access_key",
    "session_token": "session_token",
    "token": "session_token",
    "region": "region",
    "default_region": "default_region",
    "endpoint": "endpoint",
    "endpoint_url": "endpoint",
    "endpoint_url_s3": "endpoint",
    "allow_http": "allow_http",
    "virtual_hosted_style_request": "virtual_hosted_style_request",
    "skip_signature": "skip_signature",
    "request_payer": "request_payer",
    "allow_invalid_certificates": "allow_invalid_certificates",
    "proxy_url": "proxy_url",
    "timeout": "timeout",
    "connect_timeout": "connect_timeout",
    "max_retries": "max_retries",
}
_OF_TABLES: Final = (
    "allow_unsafe_rename",
    "checksum_algorithm",
    "conditional_put",
    "copy_if_not_exists",
    "disable_tagging",
    "pool_idle_timeout",
    "retry_timeout",
    "s3_allow_unsafe_rename",
    "s3_locking_provider",
    "unsigned_payload",
    "user_agent",
)
_TRUE: Final = ("1", "true", "on", "yes", "y")
_FALSE: Final = ("0", "false", "off", "no", "n", "")


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """What is needed to speak to a store; keys None: found where the AWS tools find theirs.

    `endpoint` None: AWS itself. `retries`: further tries of one request.
    """

    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    region: str = _DEFAULT_REGION
    endpoint: str | None = None
    virtual_hosted: bool = False
    skip_signature: bool = False
    request_payer: bool = False
    verify_certificates: bool = True
    proxy_url: str | None = None
    timeout_seconds: float = _TIMEOUT_SECONDS
    connect_timeout_seconds: float = _CONNECT_TIMEOUT_SECONDS
    retries: int = _RETRIES

    def __repr__(self) -> str:
        """Without keys: options end up in logs and tracebacks."""
        return f"StorageOptions(endpoint={self.endpoint!r}, region={self.region!r})"


def storage_options(
    options: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> StorageOptions:
    """The options of a store; what they leave out is taken from the environment.

    Raises `ValueError` for an unknown name and a bad value.
    """
    found = {
        known: value
        for name, value in environment.items()
        if name.startswith("AWS_") and value and (known := _NAMES.get(_plain(name))) is not None
    }
    own = _named(options)
    if "access_key_id" in own or "secret_access_key" in own:
        found.pop("session_token", None)  # belongs to the keys of the environment
    found |= own
    if ("access_key_id" in found) != ("secret_access_key" in found):
        raise ValueError("aws_access_key_id and aws_secret_access_key go together")
    endpoint = found.get("endpoint")
    if endpoint is not None and "://" not in endpoint:
        raise ValueError(f"aws_endpoint_url: expected https://host:port, found {endpoint!r}")
    allow_http = _flag(found, "allow_http")
    if endpoint is not None and endpoint.startswith("http://") and not allow_http:
        raise ValueError(
            f'{endpoint} is not encrypted: aws_allow_http = "true" allows it, as for a lake'
        )
    return StorageOptions(
        access_key_id=found.get("access_key_id"),
        secret_access_key=found.get("secret_access_key"),
        session_token=found.get("session_token"),
        region=found.get("region") or found.get("default_region") or _DEFAULT_REGION,
        endpoint=endpoint,
        virtual_hosted=_flag(found, "virtual_hosted_style_request"),
        skip_signature=_flag(found, "skip_signature"),
        request_payer=_flag(found, "request_payer"),
        verify_certificates=not _flag(found, "allow_invalid_certificates"),
        proxy_url=found.get("proxy_url"),
        timeout_seconds=_seconds(found, "timeout", _TIMEOUT_SECONDS),
        connect_timeout_seconds=_seconds(found, "connect_timeout", _CONNECT_TIMEOUT_SECONDS),
        retries=_number(found, "max_retries", _RETRIES),
    )


def _plain(name: str) -> str:
    return name.lower().removeprefix("aws_")


def _named(options: Mapping[str, str]) -> dict[str, str]:
    named = {}
    for name, value in options.items():
        plain = _plain(name)
        if plain in _NAMES:
            named[_NAMES[plain]] = value
        elif plain not in _OF_TABLES:
            close = difflib.get_close_matches(plain, _NAMES, n=1)
            hint = f'; did you mean "aws_{close[0]}"?' if close else ""
            raise ValueError(f"unknown storage option {name!r}{hint}")
    return named


def _flag(found: Mapping[str, str], name: str) -> bool:
    value = found.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError(f'{name}: expected "true" or "false", found {value!r}')


def _seconds(found: Mapping[str, str], name: str, default: float) -> float:
    if name not in found:
        return default
    try:
        seconds = parse_duration(found[name])
    except ValueError as error:
        raise ValueError(f"{name}: {error}, found {found[name]!r}") from None
    if not isinstance(seconds, float) or seconds <= 0:
        raise ValueError(f"{name}: expected more than nothing, found {found[name]!r}")
    return seconds


def _number(found: Mapping[str, str], name: str, default: int) -> int:
    value = found.get(name, str(default)).strip()
    if not value.isdecimal():
        raise ValueError(f"{name}: expected a whole number, found {value!r}")
    return int(value)
