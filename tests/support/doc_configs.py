"""The configs that a page of the documentation shows, as its readers copy them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
_BLOCK: Final = re.compile(r"^```toml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def configs_in(page: str) -> list[str]:
    """The toml blocks of a page of `docs/`, such as `sources/api.md`, in their order."""
    blocks = _BLOCK.findall((REPOSITORY / "docs" / page).read_text(encoding="utf-8"))
    assert blocks, f"docs/{page} shows no config"
    return blocks


def project_of(page: str, folder: Path, replacing: Mapping[str, str] | None = None) -> Path:
    """A project in `folder`, of the toml blocks of a page that belong together.

    A block whose first line is a comment that names a file, such as `# streams/sales.toml`, is that
    file; the others are parts of headrace.toml. `replacing`: what the page says and a test cannot
    have, such as a host, by what stands for it.
    """
    files: dict[str, list[str]] = {}
    for shown in configs_in(page):
        block = shown
        for said, instead in (replacing or {}).items():
            block = block.replace(said, instead)
        named = re.match(r"# ([\w./-]+\.toml)\n", block)
        files.setdefault(named[1] if named else "headrace.toml", []).append(block)
    for name, blocks in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(blocks), encoding="utf-8")
    return folder
