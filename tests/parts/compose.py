"""`docker compose` without Docker: the plugin reads, checks and resolves a compose file alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parts.availability import PARTS, leave_out

_PLUGIN = PARTS / "bin" / "docker-compose"


def compose_config(file: Path, env: Mapping[str, str], *options: str) -> dict[str, Any]:
    """The file as compose understands it, all variables put in; fails on any error or warning.

    `env` is the whole environment that variables are taken from (beside a `.env` at the file's).
    """
    if not _PLUGIN.exists():
        leave_out("docker compose", "make parts")
    done = subprocess.run(
        [_PLUGIN, "--file", file, *options, "config", "--format", "json"],
        capture_output=True,
        text=True,
        env=dict(env),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    resolved: dict[str, Any] = json.loads(done.stdout)
    return resolved
