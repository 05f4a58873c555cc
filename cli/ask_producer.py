"""Asks the running producer to look at its sources now, and listens until it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import httpx
import orjson
from pydantic import SecretStr

from headrace.config import Config
from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from datetime import date

    from headrace.producers.decisions import Decision

_PATH: Final = "/produce"
_CONNECT_SECONDS: Final = 5.0
# A producer at work says something every five seconds.
_SILENCE_SECONDS: Final = 30.0


class ProducerGoneError(HeadraceError):
    """The producer that was asked cannot be reached, or ended before it had answered."""


class ProducerToldError(HeadraceError):
    """The producer answered with an error: its text, remedy and exit code."""

    def __init__(self, data: dict[str, object]) -> None:
        remedy = data.get("remedy")
        super().__init__(
            f"produce: {data.get('message')}", remedy=None if remedy is None else str(remedy)
        )
        self.exit_code = int(str(data.get("exit_code", 1)))


def producer_url(config: Config) -> str | None:
    """Where the project's producer can be asked; None where none is running.

    `[produce] url` of the config says so, else what the supervisor has recorded.
    """
    from headrace.infra.services import services_at_work

    if config.settings.produce.url is not None:
        return config.settings.produce.url
    for service in services_at_work(config.paths.services):
        if service.role == "produce" and service.state == "running" and service.http_port:
            return f"http://127.0.0.1:{service.http_port}"
    return None


def ask_producer(
    url: str,
    source: str | None,
    *,
    until_landed: bool = True,
    decision: Decision | None = None,
    dates: tuple[date, date] | None = None,
    on_progress: Callable[[dict[str, object]], object] = lambda _: None,
    on_notice: Callable[[str], object] = lambda _: None,
    token: SecretStr | None = None,
) -> dict[str, int]:
    """Have one source or all looked at, and return the figures of what was done.

    With a `decision` that is carried out instead; with `dates`, first and last, the source, an API,
    is asked for these.
    `token` is `[produce] token` of the config. `on_progress` gets the fields of `ProduceProgress`.
    Raises `ProducerToldError` for what the producer could not do, `ProducerGoneError` where it
    cannot be reached or ends meanwhile.
    """
    timeout = httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
    question: dict[str, object] = {"source": source, "until_landed": until_landed}
    if decision is not None:
        question["decision"] = asdict(decision)
    if dates is not None:
        question |= {"from": dates[0].isoformat(), "to": dates[1].isoformat()}
    try:
        # The producer is near: a proxy of the environment is not for it.
        with (
            httpx.Client(timeout=timeout, trust_env=False, headers=_known_by(token)) as client,
            client.stream("POST", url.rstrip("/") + _PATH, json=question) as response,
        ):
            for line in response.iter_lines():
                data = _read(url, response.status_code, line)
                kind = data.pop("kind")
                if kind == "progress":
                    on_progress(data)
                elif kind == "notice":
                    on_notice(str(data["text"]))
                elif kind == "error":
                    raise ProducerToldError(data)
                elif kind == "done":
                    return {name: int(str(value)) for name, value in data.items()}
    except httpx.ConnectError as error:
        raise ProducerGoneError(
            f"the producer at {url} cannot be reached: {error}",
            remedy="`headrace status` says what runs; [produce] url says where another one is",
        ) from error
    except httpx.HTTPError as error:
        raise _gone(url, str(error) or type(error).__name__) from error
    raise _gone(url, "its answer ended early")


def _known_by(token: SecretStr | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}


def _read(url: str, status: int, line: str) -> dict[str, object]:
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict) or "kind" not in data:
        raise ProducerGoneError(
            f"what answers at {url}{_PATH} is not a producer: HTTP {status}, {line[:80]!r}",
            remedy="check [produce] url in headrace.toml",
        )
    return data


def _gone(url: str, how: str) -> ProducerGoneError:
    return ProducerGoneError(
        f"the producer at {url} was gone before it had answered: {how}",
        remedy="what it had taken in is safe, and goes on when it is back: ask again then",
    )
