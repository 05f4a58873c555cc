"""The Prometheus files in infra/ are right, and ask for metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from headrace import metrics
from parts.prometheus import promtool


@pytest.fixture
def folder(repository: Path) -> Path:
    return repository / "infra" / "prometheus"


@pytest.mark.parametrize("name", ["prometheus.yml", "compose.yml"])
def test_promtool_accepts_the_config(folder: Path, name: str) -> None:
    assert f"{name} is valid" in promtool("check", "config", folder / name)


def test_promtool_finds_nothing_in_the_rules(folder: Path) -> None:
    promtool("check", "rules", "--lint-fatal", folder / "rules.yml")


def test_every_alert_fires_when_it_should_and_not_before(folder: Path) -> None:
    promtool("test", "rules", folder / "rules_test.yml")
    alerts = {rule["alert"] for rule in _rules(folder)}
    tests = yaml.safe_load((folder / "rules_test.yml").read_bytes())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == alerts


def test_rules_ask_for_metrics_that_are_served(folder: Path) -> None:
    asked = {
        name for rule in _rules(folder) for name in re.findall(r"\bheadrace_\w+", rule["expr"])
    }
    assert asked
    assert asked <= {definition.name for definition in metrics.DEFINITIONS}


def _rules(folder: Path) -> list[dict[str, str]]:
    groups = yaml.safe_load((folder / "rules.yml").read_bytes())["groups"]
    return [rule for group in groups for rule in group["rules"]]
