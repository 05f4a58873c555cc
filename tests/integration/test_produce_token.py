"""`[produce] token`: a producer that strangers may reach is asked by those who know it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from headrace.cli.ask_producer import ProducerToldError, ask_producer
from headrace.errors import ConfigError
from headrace.infra.broker.server import BrokerServer
from support.produce_landing import CONFIG_QUICK
from support.produce_project import ProduceProject
from support.produce_staying import staying

TOKEN = "sixteen-characters-or-more"


async def test_only_who_knows_it_is_answered(
    tmp_path: Path, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASKED_WITH", TOKEN)
    project = ProduceProject(
        tmp_path / "shop", config=CONFIG_QUICK + '[produce]\ntoken = { env = "ASKED_WITH" }\n'
    )
    async with staying(project.config, embedded_broker.bootstrap_servers) as role:

        def ask(token: str | None) -> dict[str, int]:
            known_by = None if token is None else SecretStr(token)
            return ask_producer(role.url, None, until_landed=False, token=known_by)

        assert (await asyncio.to_thread(ask, TOKEN))["published"] == 0
        for wrong in (None, TOKEN[:-1], TOKEN + "x"):
            with pytest.raises(ProducerToldError, match="answers only who knows its token"):
                await asyncio.to_thread(ask, wrong)
        async with httpx.AsyncClient() as client:
            strange = [(b"Authorization", b"Bearer \xff\xe9")]
            refused = await client.post(f"{role.url}/produce", headers=strange)
            assert (refused.status_code, TOKEN in refused.text) == (401, False)
            assert (await client.get(f"{role.url}/healthz")).status_code == 200


@pytest.mark.parametrize("token", ["too-short", "with blanks in between", "öffentlicher-Schlüssel"])
def test_what_is_no_token_is_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("ASKED_WITH", token)
    project = ProduceProject(
        tmp_path / "shop", config='[produce]\ntoken = { env = "ASKED_WITH" }\n'
    )
    with pytest.raises(ConfigError, match="token: expected 16 or more letters") as found:
        _ = project.config
    assert token not in str(found.value)
