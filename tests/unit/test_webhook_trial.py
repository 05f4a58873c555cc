"""`headrace sources test` of a webhook: the call it shows is let in, once the secret is in it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.trial import try_source
from headrace.config_file import load_config
from headrace.config_webhook import WebhookSource
from headrace.errors import ConfigError
from headrace.infra.supervisor_plan import plan_up
from headrace.producers.webhook.door import Door
from headrace.producers.webhook.journal import Journal
from headrace.role_http import Health, RoleHttp

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    "signature",
    [
        '"none"',
        '{ kind = "github", secret = { env = "HOOK_SECRET" } }',
        '{ kind = "standard", secrets = [{ env = "HOOK_SECRET" }, "whsec_b2xkIHNlY3JldA=="] }',
        '{ kind = "stripe", secret = { env = "HOOK_SECRET" } }',
        '{ kind = "token", secret = { env = "HOOK_SECRET" } }',
        '{ kind = "token", secret = { env = "HOOK_SECRET" }, header = "X-Gitlab-Token" }',
    ],
)
def test_the_call_that_is_shown_is_let_in(
    tmp_path: Path, signature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    (tmp_path / "headrace.toml").write_text(
        f"""
        [project]
        name = "shop"
        [sources.hooks]
        kind = "webhook"
        signature = {signature}
        headers = ["X-Kind"]
        stream = "hooks"
        """
    )
    config = load_config(tmp_path)
    source = config.settings.sources["hooks"]
    assert isinstance(source, WebhookSource)
    said = [one.text for one in try_source(config, "hooks", most_files=3)]
    assert said[0].startswith("POST http://127.0.0.1:PORT/hooks/hooks (no producer is running")
    assert not [text for text in said if SECRET in text or "b2xkIHNlY3JldA" in text]
    journal = Journal(tmp_path / "spool" / "hooks")
    door = Door({"hooks": source})
    http = RoleHttp("produce", health=lambda: Health(ok=True), routes=door.routes())
    port = http.start()
    try:
        with door.opened({"hooks": journal}):
            script = said[-1].replace(":PORT/", f":{port}/").replace("YOUR_SECRET", SECRET)
            done = subprocess.run(
                ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False
            )
            assert "HTTP/1.1 202" in done.stdout, done
            wrong = said[-1].replace(":PORT/", f":{port}/")
            done = subprocess.run(
                ["bash", "-c", wrong], capture_output=True, text=True, timeout=60, check=False
            )
            expected = "202" if source.signature.kind == "none" else "401"
            assert f"HTTP/1.1 {expected}" in done.stdout, done
    finally:
        http.stop()
        journal.close()


@pytest.mark.parametrize(
    ("records", "body"),
    [
        ("", {"hello": "world"}),
        ("readings", {"readings": [{"hello": "world"}]}),
        ('data."it\'s"[].rows', {"data": {"it's": [{"rows": [{"hello": "world"}]}]}}),
        ("a[?b]", {"hello": "world"}),
    ],
)
def test_the_body_that_is_shown_has_records_where_they_should_be(
    tmp_path: Path, records: str, body: object
) -> None:
    key = f"records = {json.dumps(records)}" if records else ""
    config = config_with(tmp_path, f'signature = "none"\n{key}')
    said = [one.text for one in try_source(config, "hooks", most_files=3)]
    assigned = next(line for line in said[-1].splitlines() if "body=" in line)
    shown = subprocess.run(
        ["bash", "-c", f'{assigned}; printf %s "$body"'], capture_output=True, check=True
    )
    assert json.loads(shown.stdout) == body
    assert ("  (put in a body in which `a[?b]` finds records)" in said) == (records == "a[?b]")


def config_with(tmp_path: Path, keys: str) -> Any:
    (tmp_path / "headrace.toml").write_text(
        f'[project]\nname = "shop"\n[sources.hooks]\nkind = "webhook"\nstream = "s"\n{keys}\n'
    )
    return load_config(tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "signature: missing"),
        ("signature = { }", "kind: missing"),
        ('signature = { kind = "github", secret = "aVerySecretOne", x = 1 }', "unknown key"),
        ('signature = { kind = "githup", secret = "aVerySecretOne" }', 'did you mean "github"'),
        ('signature = { kind = "standard", secret = "aVerySecretOne!" }', "a key in base64"),
        ('signature = { kind = "github", secret = { env = "NOT_SET_AT_ALL" } }', "is not set"),
        (
            'signature = { kind = "github", secret = "aVerySecretOne", replay_window = "5m" }',
            'replay_window is for kind = "standard" and "stripe"',
        ),
        ('signature = { kind = "none", replay_window = "5m" }', "replay_window is for"),
        ('signature = "none"\nrecords = "a["', "JMESPath"),
        ('signature = "none"\nheaders = ["Authorization"]', "holds a secret"),
        ('signature = "none"\nheaders = ["a b"]', "the name of a header"),
        ('signature = "none"\ncontent_types = ["json"]', "application/json"),
        ('signature = "none"\nmax_body = 0', "greater than or equal to 1"),
        (
            'signature = "none"\nidentity = "arrival"\ndelivery_id_header = "X-Id"',
            'identity = "sender"',
        ),
    ],
)
def test_a_webhook_that_is_not_right_is_refused_at_start(
    tmp_path: Path, keys: str, message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        config_with(tmp_path, keys)
    assert message in str(raised.value)
    assert "sources.hooks" in str(raised.value)
    assert "aVerySecretOne" not in str(raised.value)


def test_under_up_the_producer_has_the_port_that_callers_know(tmp_path: Path) -> None:
    config = config_with(tmp_path, 'signature = "none"\n[produce]\nport = 4711')
    (produce,) = [plan for plan in plan_up(config, page_port=3_000).roles if plan.role == "produce"]
    assert (produce.port, produce.http_port) == (4711, 4711)
    assert produce.arguments[-2:] == ("--http-port", "4711")
