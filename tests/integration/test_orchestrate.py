"""Dagster over a project: what it asks for, what it tells; nothing is missed or repeated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from headrace.errors import LakeError
from headrace.lakehouse.catalog import load_catalog
from headrace.lakehouse.refresh import RefreshReport, refresh
from headrace.orchestration.home import make_home, remove_socket
from headrace.orchestration.orchestrated import Seams, load_project
from headrace.orchestration.refresh_run import refresh_events
from headrace.orchestration.refresh_sensor import WAIT_VARIABLE
from headrace.orchestration.run_history import RunHistory
from support.orchestrated_shop import (
    BY_COUNTRY,
    DAYS,
    GOLD,
    NO_TELEMETRY,
    SILVER,
    Shop,
    copy_example,
    materialised,
    sale,
)

NAMES = [day.isoformat() for day in DAYS]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(settings=NO_TELEMETRY) as instance:
        yield instance


@pytest.fixture
def shop(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Three dates in bronze, and nothing refreshed."""
    monkeypatch.setenv(WAIT_VARIABLE, "0")
    shop = Shop(copy_example(tmp_path / "shop"), instance)
    for day in DAYS:
        shop.land(sale(day), sale(day, country="Spain"), day=day)
    return shop


def refreshed(shop: Shop) -> Shop:
    assert shop.tick()
    shop.refresh()
    assert not shop.tick()
    return shop


def refresh_elsewhere(shop: Shop) -> None:
    """What `headrace run` and cron do."""
    refresh(load_catalog(shop.config, shop.lake), shop.config.paths)


def test_the_definitions_are_the_projects(shop: Shop) -> None:
    repository = shop.definitions().get_repository_def()
    nodes = repository.asset_graph
    assert {key.to_user_string() for key in nodes.get_all_asset_keys()} == {
        "bronze/sales",
        "silver/sales",
        "gold/daily_revenue",
        "gold/revenue_by_country",
    }
    assert nodes.get(GOLD).parent_keys == {SILVER}
    assert nodes.get(BY_COUNTRY).parent_keys == {GOLD}
    assert nodes.get(dg.AssetKey(["bronze", "sales"])).is_external
    today = datetime.now(UTC).date().isoformat()
    for key in (SILVER, GOLD):
        partitions = nodes.get(key).partitions_def
        assert partitions is not None
        assert partitions.get_first_partition_key() == "2010-12-01"
        assert partitions.get_last_partition_key() in {today, _tomorrow()}
    assert nodes.get(BY_COUNTRY).partitions_def is None
    columns = nodes.get(GOLD).metadata["dagster/column_schema"].columns
    assert [column.name for column in columns] == ["event_date", "country", "revenue", "orders"]
    assert "SELECT" in (nodes.get(GOLD).description or "")
    assert {job.name for job in repository.get_all_jobs()} >= {"refresh", "rebuild"}


def _tomorrow() -> str:
    return (datetime.now(UTC).date() + timedelta(days=1)).isoformat()


def test_all_that_changed_is_reported_once_with_its_rows(shop: Shop) -> None:
    assert shop.tick()
    told = shop.refresh()
    assert told == {
        "silver.sales": NAMES,
        "gold.daily_revenue": NAMES,
        "gold.revenue_by_country": [None],
    }
    event = shop.instance.get_latest_materialization_event(GOLD)
    assert event is not None
    assert event.asset_materialization is not None
    about = {k: v.value for k, v in event.asset_materialization.metadata.items()}
    bronze, gold = shop.lake.open("bronze", "sales"), shop.lake.open("gold", "daily_revenue")
    assert bronze is not None
    assert gold is not None
    assert about == {
        "dagster/partition_row_count": 2,
        "bronze_version": bronze.version,
        "table_version": gold.version,
    }
    assert shop.checks(SILVER) == {"quarantined_share": True, "has_rows": True}
    assert not shop.tick()
    assert shop.refresh() == {}


def test_a_late_record_reports_just_its_date(shop: Shop) -> None:
    refreshed(shop)
    shop.land(sale(DAYS[1]), day=DAYS[1])
    assert shop.tick()
    assert shop.refresh() == {
        "silver.sales": [NAMES[1]],
        "gold.daily_revenue": [NAMES[1]],
        "gold.revenue_by_country": [None],
    }
    assert shop.counts(GOLD) == {NAMES[0]: 1, NAMES[1]: 2, NAMES[2]: 1}
    assert not shop.tick()


def test_what_was_refreshed_elsewhere_is_reported_as_well(shop: Shop) -> None:
    refreshed(shop)
    shop.land(sale(DAYS[2]), day=DAYS[2])
    refresh_elsewhere(shop)
    assert shop.tick()
    assert shop.refresh()["gold.daily_revenue"] == [NAMES[2]]
    assert not shop.tick()


def test_a_run_killed_between_commit_and_report_misses_and_repeats_nothing(shop: Shop) -> None:
    refreshed(shop)
    shop.land(sale(DAYS[0]), day=DAYS[0])
    events = refresh_events(
        load_project(shop.root), shop.instance, linger_seconds=0, say=lambda _: None
    )
    next(events)  # the tables are committed, and the first event is never stored
    events.close()
    assert shop.counts(GOLD)[NAMES[0]] == 1
    assert shop.tick()
    assert shop.refresh()["gold.daily_revenue"] == [NAMES[0]]
    assert shop.counts(GOLD) == {NAMES[0]: 2, NAMES[1]: 1, NAMES[2]: 1}
    assert not shop.tick()


def test_a_report_that_was_broken_off_is_gone_on_with(shop: Shop) -> None:
    refreshed(shop)
    for day in DAYS:
        shop.land(sale(day), day=day)
    events = refresh_events(
        load_project(shop.root), shop.instance, linger_seconds=0, say=lambda _: None
    )
    stored = 0
    for event in events:  # as Dagster would, until it is killed after two dates of silver
        if isinstance(event, dg.AssetMaterialization):
            shop.instance.report_runless_asset_event(event)
            stored += 1
        if stored == 2:
            break
    events.close()
    assert shop.refresh()["silver.sales"] == [NAMES[2]]
    assert shop.counts(SILVER) == dict.fromkeys(NAMES, 2)


def test_a_failed_run_is_asked_for_again_later_and_at_once_when_more_comes(shop: Shop) -> None:
    now = [datetime.now(UTC)]
    shop.seams = Seams(now=lambda: now[0], sleep=lambda _: None, refresh=fails)
    assert shop.tick()
    shop.refresh(succeeds=False)
    assert not shop.tick()
    now[0] += timedelta(seconds=6)
    assert shop.tick()
    assert not shop.tick()
    now[0] += timedelta(seconds=6)
    assert not shop.tick()
    shop.land(sale(DAYS[0]), day=DAYS[0])
    assert shop.tick()
    shop.seams = replace(shop.seams, refresh=refresh)
    assert shop.refresh()["gold.daily_revenue"] == NAMES
    assert not shop.tick()


def fails(*_arguments: object, **_options: object) -> RefreshReport:
    raise LakeError("the lake cannot be reached")


def test_no_second_run_while_one_is_at_work_unless_its_process_is_gone(
    shop: Shop, tmp_path: Path
) -> None:
    job = shop.definitions().get_job_def("refresh")
    run = shop.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert not shop.tick()
    gone = f'{{"host": "localhost", "socket": "{tmp_path / "gone.sock"}"}}'
    shop.instance.add_run_tags(run.run_id, {".dagster/grpc_info": gone})
    assert shop.tick()
    found = shop.instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == dg.DagsterRunStatus.FAILURE


def test_a_run_lingers_and_takes_what_comes_meanwhile(shop: Shop) -> None:
    clock, late = [0.0], [20.0, 40.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if late and clock[0] >= late[0]:
            late.pop(0)
            shop.land(sale(DAYS[1]), day=DAYS[1])

    shop.seams = Seams(monotonic=lambda: clock[0], sleep=sleep)
    told = shop.refresh(linger=45)
    assert clock[0] == pytest.approx(45, abs=1)
    assert told["gold.daily_revenue"] == [*NAMES, NAMES[1], NAMES[1]]
    assert not shop.tick()


def test_a_wrong_model_fails_the_run_and_keeps_no_other_from_its_data(shop: Shop) -> None:
    (shop.root / "gold" / "broken.sql").write_text(
        "-- grain: day\nSELECT event_date, nothing FROM silver.sales"
    )
    told = shop.refresh(succeeds=False)
    assert told["gold.daily_revenue"] == NAMES
    assert "gold.broken" not in told


def test_chosen_dates_are_rebuilt_and_told_once(shop: Shop) -> None:
    refreshed(shop)
    repository = shop.definitions().get_repository_def()
    tags = {
        "dagster/asset_partition_range_start": NAMES[0],
        "dagster/asset_partition_range_end": NAMES[1],
    }
    before = shop.lake.open("gold", "daily_revenue")
    result = repository.get_job("rebuild").execute_in_process(instance=shop.instance, tags=tags)
    assert materialised(result) == {
        "silver.sales": NAMES[:2],
        "gold.daily_revenue": NAMES[:2],
    }
    gold = shop.lake.open("gold", "daily_revenue")
    assert gold is not None
    assert before is not None
    assert gold.version > before.version
    assert shop.tick()  # what is above them, and that they are told
    assert shop.refresh() == {"gold.revenue_by_country": [None]}
    assert shop.counts(GOLD) == {NAMES[0]: 2, NAMES[1]: 2, NAMES[2]: 1}
    assert not shop.tick()


def test_too_many_in_quarantine_and_a_date_without_rows_are_warned_of(shop: Shop) -> None:
    refreshed(shop)
    lost = date(2010, 12, 5)
    shop.land(*[{**sale(lost), "Quantity": "many"}] * 3, day=lost)
    shop.refresh()
    assert shop.checks(SILVER) == {"quarantined_share": False, "has_rows": False}
    repository = shop.definitions().get_repository_def()
    assert not shop.tick(), "a check that fails is no reason to do anything again"
    shop.land(*[sale(lost)] * 60, day=lost)
    shop.refresh()
    assert shop.checks(SILVER) == {"quarantined_share": True, "has_rows": True}
    assert repository.asset_graph.asset_check_keys


def test_records_without_a_partition_are_left_out(shop: Shop) -> None:
    refreshed(shop)
    shop.land(b"\xff", day=None)
    early = date(2009, 1, 1)
    shop.land(sale(early), day=early)
    assert shop.tick()
    assert "silver.sales" not in shop.refresh()
    assert not shop.tick()


def test_a_date_ahead_of_today_is_told_when_it_has_come(shop: Shop) -> None:
    now = [datetime(2010, 12, 9, 12, tzinfo=UTC)]
    shop.seams = Seams(now=lambda: now[0])
    refreshed(shop)
    coming = date(2010, 12, 10)
    shop.land(sale(coming), day=coming)
    assert shop.tick()
    assert "silver.sales" not in shop.refresh()
    assert not shop.tick()
    now[0] += timedelta(days=1)
    assert shop.tick()
    assert shop.refresh()["silver.sales"] == [coming.isoformat()]
    assert not shop.tick()


def test_a_source_with_every_is_looked_at_on_schedule(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shop.root / "headrace.toml"
    config.write_text(
        config.read_text() + '\n[sources.prices]\nkind = "files"\n'
        'path = "prices"\nstream = "sales"\nevery = "5m"\n'
    )
    repository = shop.definitions().get_repository_def()
    (schedule,) = repository.schedule_defs
    assert schedule.cron_schedule == "*/5 * * * *"
    monkeypatch.setattr(
        "headrace.orchestration.polls.poll_command",
        lambda _config, source: ["sh", "-c", f"echo looks at {source}; exit 1"],
    )
    result = repository.get_job("poll_prices").execute_in_process(
        instance=shop.instance, raise_on_error=False
    )
    assert not result.success
    logged = [record.message for record in shop.instance.all_logs(result.run_id)]
    assert any("looks at prices" in message for message in logged)
    failure = result.failure_data_for_node("look_at_prices")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "rejected" in (failure.user_failure_data.description or "")


def test_old_runs_go_and_what_the_page_shows_stays(shop: Shop, tmp_path: Path) -> None:
    section = shop.config.settings.orchestrate.model_copy(update={"keep_runs": 0.0})
    home = make_home(tmp_path / "dagster", section)
    remove_socket(home)
    with dg.DagsterInstance.from_config(str(home.folder)) as instance:
        shop.instance = instance
        refreshed(shop)
        for _ in range(3):
            shop.land(sale(DAYS[1]), day=DAYS[1])
            shop.refresh()
        assert instance.get_runs_count() == 4
        history = RunHistory(home.folder, section)
        try:
            assert history.keep_house() == 2
            assert history.keep_house() == 0
        finally:
            history.close()
        assert instance.get_materialized_partitions(GOLD) == set(NAMES)
        assert not shop.tick()


def documented_example(repository: Path) -> str:
    """The module that the how-to has its reader save."""
    page = (repository / "docs" / "how-to" / "dagster.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return str(code)


def test_assets_of_ones_own_follow_the_dates_that_change(
    shop: Shop, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop.root)
    module: dict[str, Any] = {"__name__": "my_assets"}
    code = compile(documented_example(repository), "my_assets.py", "exec", dont_inherit=True)
    exec(code, module)
    defs: dg.Definitions = module["defs"]
    mail = dg.AssetKey("revenue_mail")
    cursor = dg.evaluate_automation_conditions(defs, shop.instance).cursor

    def asked_for() -> set[str]:
        nonlocal cursor
        result = dg.evaluate_automation_conditions(defs, shop.instance, cursor=cursor)
        cursor = result.cursor
        return {str(name) for name in result.get_requested_partitions(mail)}

    refreshed(shop)
    assert asked_for() == set(NAMES)
    assert asked_for() == set()
    shop.land(sale(DAYS[1]), day=DAYS[1])
    shop.refresh()
    assert asked_for() == {NAMES[1]}
    assert asked_for() == set()
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={mail})
    result = job.execute_in_process(instance=shop.instance, partition_key=NAMES[1])
    said = [record.message for record in shop.instance.all_logs(result.run_id)]
    assert any("'country': 'France'" in message for message in said)
