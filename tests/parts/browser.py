"""Chromium as the system has it (`make parts`), driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from parts.availability import leave_out

# In a container there is no other sandbox to be had; the rest keeps it from calling home.
_FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-dev-shm-usage",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@contextmanager
def browser_page(*, width: int = 1440, height: int = 900) -> Iterator[Page]:
    """An empty page in a browser of its own, until the block ends."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        leave_out("Chromium", "make parts")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        try:
            yield browser.new_page(viewport={"width": width, "height": height})
        finally:
            browser.close()


def keep_screenshot(page: Page, folder: Path, name: str) -> Path:
    """Save what the page shows as `<folder>/<name>.png`; a copy goes to HEADRACE_SHOTS, if set."""
    shot = folder / f"{name}.png"
    page.screenshot(path=shot)
    copies = os.environ.get("HEADRACE_SHOTS")
    if copies:
        Path(copies).mkdir(parents=True, exist_ok=True)
        shutil.copy(shot, copies)
    return shot
