"""Dagster's page, as a person sees it in a browser, of a project under `up`."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from parts.browser import browser_page, keep_screenshot
from support.retail_project import new_retail_project
from support.up_project import drop, running, wait_for_value

SECONDS = 60
DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class Seen:
    """A browser at a project's page; `countries` is how many there are on each of its dates."""

    page: Page
    url: str
    countries: dict[str, int]
    requested: list[str]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("page")
    project = new_retail_project(folder / "shop")
    staged = [
        Path(shutil.copy(path, folder))
        for path in sorted((repository / "examples" / "retail" / "inbox").glob("*.csv"))
    ]
    pairs: set[tuple[str, str]] = set()
    for path in staged:
        with path.open(newline="") as file:
            pairs.update((row["InvoiceDate"][:10], row["Country"]) for row in csv.DictReader(file))
    countries = Counter(day for day, _ in pairs)
    with running(project) as port, browser_page(width=1920, height=1080) as page:
        for path in staged:
            drop(path, project.root / "inbox")
        wait_for_value(
            project, "SELECT count(*) FROM gold.daily_revenue", len(pairs), seconds=SECONDS
        )
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.set_default_timeout(SECONDS * 1_000)
        expect.set_options(timeout=SECONDS * 1_000)
        yield Seen(page, f"http://127.0.0.1:{port}", dict(countries), requested)


def test_the_asset_graph_leads_from_bronze_to_gold(seen: Seen, tmp_path: Path) -> None:
    groups = ",".join(f"global@global:{layer}" for layer in ("bronze", "silver", "gold"))
    seen.page.goto(f"{seen.url}/asset-groups?expanded={quote(groups, safe='')}")
    for name in ("bronze", "silver", "gold", "sales", "daily_revenue", "revenue_by_country"):
        node = seen.page.locator("foreignObject").get_by_text(name, exact=True)
        expect(node.first).to_be_visible()
    # revenue_by_country, the one without partitions
    materialized = seen.page.locator("foreignObject").get_by_text("Materialized", exact=True)
    expect(materialized.first).to_be_visible()
    keep_screenshot(seen.page, tmp_path, "asset-graph")


def test_the_refresh_run_tells_what_it_wrote(seen: Seen, tmp_path: Path) -> None:
    seen.page.goto(f"{seen.url}/runs")
    expect(seen.page.get_by_text("refresh_on_change").first).to_be_visible()
    seen.page.locator("a[href*='/runs/']").filter(
        has_text=re.compile(r"^[0-9a-f]{8}$")
    ).last.click()
    seen.page.get_by_placeholder("Filter").last.fill("daily_revenue")
    expect(seen.page.get_by_text("Materialized value gold daily_revenue.").first).to_be_visible()
    expect(seen.page.get_by_text("Check has_rows succeeded").first).to_be_visible()
    keep_screenshot(seen.page, tmp_path, "refresh-run")


def test_the_partitions_of_gold_are_the_dates_of_the_files(seen: Seen, tmp_path: Path) -> None:
    page, dates = seen.page, sorted(seen.countries)
    page.goto(f"{seen.url}/assets/gold/daily_revenue?view=partitions")
    expect(page.get_by_text(f"Materialized ({len(dates)})")).to_be_visible()
    # Every day from the project's first date to today has its place, and nothing else has one.
    missing = (datetime.now(UTC).date() - date(2010, 12, 1)).days + 1 - len(dates)
    page.get_by_text(f"Missing ({missing})").click()
    expect(page.get_by_text(f"{len(dates)} Partitions Selected")).to_be_visible()
    listed = page.locator("body").inner_text().split(f"Missing ({missing})")[1]
    assert sorted(set(DATE.findall(listed))) == dates
    page.get_by_text(dates[2], exact=True).first.click()
    rows = page.get_by_role("row").filter(has_text="partition_row_count")
    expect(rows).to_contain_text(str(seen.countries[dates[2]]))
    keep_screenshot(page, tmp_path, "partitions-of-daily-revenue")


def test_the_checks_of_the_contract_are_shown_as_passed(seen: Seen, tmp_path: Path) -> None:
    seen.page.goto(f"{seen.url}/assets/silver/sales?view=checks")
    for name in ("has_rows", "quarantined_share"):
        expect(seen.page.get_by_text(name).first).to_be_visible()
    expect(seen.page.get_by_text("Succeeded", exact=True)).to_have_count(2)
    keep_screenshot(seen.page, tmp_path, "checks-of-silver")


def test_the_page_asked_nobody_else(seen: Seen) -> None:
    """Last in this file: what the others have looked at came from this machine alone."""
    assert len(seen.requested) > 10
    assert [url for url in seen.requested if not url.startswith((seen.url, "data:", "blob:"))] == []
