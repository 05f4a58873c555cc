"""The reference is what the code says, each setting is described, and no link leads nowhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from headrace.metrics import DEFINITIONS


@pytest.fixture(scope="module")
def generate(repository: Path) -> ModuleType:
    """`docs/generate.py`, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("generate", repository / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["config.md", "commands.md", "metrics.md"])
def test_the_reference_is_current(generate: ModuleType, page: str) -> None:
    path = generate.REFERENCE / page
    assert path.read_text() == generate.pages()[page](), "run `make docs`"


def test_each_setting_is_described(generate: ModuleType) -> None:
    rows = [line for line in generate.config_reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert [row for row in rows if row.endswith("|  |")] == []


def test_each_metric_is_in_the_reference_once(generate: ModuleType) -> None:
    found = re.findall(r"^\| `(headrace_\w+)` \|", generate.metrics_reference(), re.MULTILINE)
    assert sorted(found) == sorted(definition.name for definition in DEFINITIONS)


def test_links_between_pages_lead_somewhere(repository: Path) -> None:
    pages = [*repository.glob("*.md"), *repository.glob("docs/**/*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target
    ]
    assert links
    broken = [(page.name, target) for page, target in links if not (page.parent / target).exists()]
    assert broken == []
