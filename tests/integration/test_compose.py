"""docker-compose.yml and the Dockerfile agree with compose, with hadolint, and with the code.

Docker itself is not needed: compose's plugin resolves the file, the roles' command lines are parsed
by the commands themselves.
"""

from __future__ import annotations

import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from headrace.cli.group import cli
from headrace.config import ENV_PREFIX, Settings
from parts.compose import compose_config

ROLES = {"produce", "consume", "orchestrate"}
HTTP_PORT = 9100


@pytest.fixture(scope="module")
def file(repository: Path) -> Path:
    return repository / "docker-compose.yml"


@pytest.fixture(scope="module")
def services(file: Path) -> dict[str, Any]:
    """As compose resolves them with nothing set."""
    resolved: dict[str, Any] = compose_config(file, {})["services"]
    return resolved


def setting_names(model: type[BaseModel], prefix: str = ENV_PREFIX) -> set[str]:
    """Variables that a section's keys can be set by."""
    names: set[str] = set()
    for key, field in model.model_fields.items():
        name = f"{prefix}{key.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= setting_names(field.annotation, f"{name}__")
        elif typing.get_origin(field.annotation) is not dict:
            names.add(name)
    return names


def test_every_variable_has_a_default_and_can_be_set(file: Path, tmp_path: Path) -> None:
    variables = set(re.findall(r"\$\{(\w+)", file.read_text()))
    assert {"HEADRACE_PROJECT", "HEADRACE_UID", "DAGSTER_PORT"} <= variables
    ports = {name: str(20_000 + n) for n, name in enumerate(sorted(variables)) if "PORT" in name}
    given = {**ports, "HEADRACE_PROJECT": str(tmp_path), "HEADRACE_UID": "7", "HEADRACE_GID": "8"}
    assert set(given) == variables
    resolved = compose_config(file, given)["services"]
    assert {resolved[role]["user"] for role in ROLES} == {"7:8"}
    assert {volume["source"] for role in ROLES for volume in resolved[role]["volumes"]} == {
        str(tmp_path)
    }
    published = {p["published"] for s in resolved.values() for p in s.get("ports", ())}
    assert published == set(ports.values())


def test_ports_are_this_machines_alone(services: dict[str, Any]) -> None:
    hosts = {p["host_ip"] for service in services.values() for p in service.get("ports", ())}
    assert hosts == {"127.0.0.1"}


def test_every_service_comes_back_is_watched_and_gets_time_to_end(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert "stop_grace_period" in service, name
        assert "max-size" in service["logging"]["options"], name
    watched = {name for name, service in services.items() if "healthcheck" in service}
    assert watched == set(services) - {"redpanda-console"}  # its image has no shell to ask with


def test_images_are_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_roles_command_line_is_one(services: dict[str, Any], role: str) -> None:
    name, *arguments = services[role]["command"]
    assert name == role
    with cli.make_context("headrace", [name, *arguments]) as context:
        command = cli.get_command(context, name)
        assert command is not None
        with command.make_context(name, arguments, parent=context) as parsed:
            assert parsed.params["project"] == Path("/project")
            assert parsed.params["http_host"] == "0.0.0.0"
            assert parsed.params["http_port"] == HTTP_PORT
    assert f"127.0.0.1:{HTTP_PORT}/healthz" in services[role]["healthcheck"]["test"][-1]
    assert {volume["target"] for volume in services[role]["volumes"]} == {"/project"}
    assert services[role]["depends_on"]["redpanda"]["condition"] == "service_healthy"


def test_a_roles_environment_is_settings_that_there_are(services: dict[str, Any]) -> None:
    known = setting_names(Settings)
    assert "HEADRACE_BROKER__BOOTSTRAP_SERVERS" in known
    for role in ROLES:
        environment = services[role]["environment"]
        assert set(environment) <= known
        assert environment["HEADRACE_PRODUCE__URL"] == f"http://produce:{HTTP_PORT}"
        assert "redpanda:9092" in environment["HEADRACE_BROKER__BOOTSTRAP_SERVERS"]


def test_prometheus_asks_each_role_where_it_listens(
    repository: Path, services: dict[str, Any]
) -> None:
    config = yaml.safe_load((repository / "infra" / "prometheus" / "compose.yml").read_bytes())
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "headrace")
    asked = {
        target: static["labels"]["role"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    assert asked == {f"{role}:{HTTP_PORT}": role for role in ROLES}


def test_hadolint_finds_nothing_in_the_dockerfile(repository: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", repository / "infra" / "Dockerfile"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_gets_every_folder_that_is_installed(repository: Path) -> None:
    pyproject = (repository / "pyproject.toml").read_text()
    folders = set(re.findall(r'^"headrace[\w.]*" = "([a-z]+)"$', pyproject, re.MULTILINE))
    assert {"core", "cli", "orchestration"} <= folders
    sent = {
        line.removeprefix("!")
        for line in (repository / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    files = {"LICENSE", "README.md", "pyproject.toml", "requirements.txt", "requirements-build.txt"}
    assert sent == folders | files
