"""Real HTTP exchanges as they were recorded: CoinGecko's, GitHub's and Open-Meteo's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import orjson

# What belongs to the connection that was recorded, and not to the one it is served on.
_OF_THE_CONNECTION: Final = {"transfer-encoding", "content-length", "connection", "keep-alive"}

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One exchange: what was asked for, and what came back; `body` is unpacked."""

    method: str
    host: str
    path: str
    query: Pairs
    status: int
    headers: Pairs
    body: bytes

    @property
    def key(self) -> tuple[str, str, Pairs]:
        """By what it is found: the order of the query does not matter."""
        return self.method, self.path, tuple(sorted(self.query))

    @property
    def target(self) -> str:
        """Path and query as they were asked for."""
        query = "&".join(f"{name}={value}" for name, value in self.query)
        return self.path + (f"?{query}" if query else "")


def coingecko(shared_data: Path) -> list[Recorded]:
    """All 67; of several with the same request the last one holds."""
    folder = shared_data / "coingecko" / "recorded"
    entries = json.loads((folder / "INDEX.json").read_text())
    return [
        _recorded(
            entry["method"],
            entry["uri"],
            entry["status"],
            entry["response_headers"].items(),
            (folder / entry["file"]).read_bytes(),
        )
        for entry in entries
    ]


def github(shared_data: Path, scenario: str) -> list[Recorded]:
    """The exchanges of one scenario, in their order."""
    path = shared_data / "github-rest" / "scenarios" / scenario / "normalized-fixture.json"
    exchanges = []
    for entry in json.loads(path.read_text()):
        response = entry["response"]
        if entry["responseIsBinary"]:
            body = bytes.fromhex(response)
        else:
            body = response.encode() if isinstance(response, str) else orjson.dumps(response)
        uri = entry["scope"].removesuffix(":443") + entry["path"]
        headers = ((name, str(value)) for name, value in entry["headers"].items())
        exchanges.append(_recorded(entry["method"], uri, entry["status"], headers, body))
    return exchanges


def open_meteo(shared_data: Path) -> list[Recorded]:
    """All with a recorded request."""
    folder = shared_data / "weather" / "open_meteo_recorded"
    exchanges = []
    for path in sorted(folder.glob("*.meta.json")):
        meta = json.loads(path.read_text())
        body = (folder / path.name.replace(".meta.json", ".json")).read_bytes()
        headers = ((name, ", ".join(values)) for name, values in meta["headers"].items())
        exchanges.append(_recorded("get", meta["uri"], meta["status"]["code"], headers, body))
    return exchanges


def _recorded(
    method: str, uri: str, status: int, headers: Iterable[tuple[str, str]], body: bytes
) -> Recorded:
    parts = urlsplit(uri)
    return Recorded(
        method=method.upper(),
        host=f"{parts.scheme}://{parts.netloc}",
        path=parts.path,
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        status=status,
        headers=tuple((n, v) for n, v in headers if n.lower() not in _OF_THE_CONNECTION),
        body=body,
    )
