"""Config says plainly what is wrong, and takes values from where it says it does."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from headrace.config_file import load_config
from headrace.errors import ConfigError, UsageError

GOOD = """
[project]
name = "shop"
first_date = 2010-12-01

[sources.sales]
kind = "files"
path = "inbox"
stream = "sales"
settle = "1.5s"
"""


def project(folder: Path, config: str = GOOD, **streams: str) -> Path:
    (folder / "streams").mkdir()
    (folder / "headrace.toml").write_text(config)
    for name, text in streams.items():
        (folder / "streams" / f"{name}.toml").write_text(text)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(folder)
    return str(caught.value)


def test_a_good_project_is_read_with_defaults(tmp_path: Path) -> None:
    config = load_config(project(tmp_path))
    source = config.file_sources["sales"]
    assert source.settle == 1.5
    assert "*.csv" in source.patterns
    assert config.topic("sales") == "shop.sales"
    assert config.lake_uri == str(tmp_path / "lake")
    assert config.embedded_broker
    assert config.stream_names == ("sales",)
    assert not config.stream("sales").has_contract
    assert config.first_date("sales") == date(2010, 12, 1)


def test_no_project_names_init(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="headrace init"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "right", "expected"),
    [
        ('path = "inbox"', 'pth = "inbox"', ["headrace.toml: sources.sales.pth", '"path"']),
        ("[project]\nname", "[project]\nnmae", ["headrace.toml: project.nmae", '"name"']),
        ('kind = "files"', 'kind = "fils"', ["sources.sales.kind", '"files"', "'fils'"]),
        ('"1.5s"', '"soon"', ["sources.sales.settle", '"10s"', "'soon'"]),
        ('name = "shop"', 'name = "My Shop"', ["project.name", "lower-case"]),
        ('stream = "sales"', "", ["sources.sales.stream", "missing"]),
        ("2010-12-01", "2010-13-01", ["headrace.toml", "not valid TOML", "line 4"]),
        ('"1.5s"', "true", ["sources.sales.settle", "true"]),
        ("[project]", '[broker]\nbootstrap_servers = "kafka"\n[project]', ["host:port", "'kafka'"]),
        (
            "[project]",
            (
                '[sources.more]\nkind = "files"\npath = "x"\nstream = "x"\n'
                'encoding = "klingon"\n[project]'
            ),
            ["sources.more.encoding", "'klingon'"],
        ),
        ("[project]", "[projekt]", ["headrace.toml: projekt: unknown key", '"project"']),
    ],
)
def test_a_mistake_is_named_with_file_key_and_expectation(
    tmp_path: Path, wrong: str, right: str, expected: list[str]
) -> None:
    assert wrong in GOOD
    message = refusal(project(tmp_path, GOOD.replace(wrong, right)))
    for text in expected:
        assert text in message


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('encoding = "utf-9"', "utf-9"),
        ('xml.records = "order"', "order"),
        ('lines.pattern = "[a-z]+"', "[a-z]+"),
    ],
)
def test_what_was_found_is_said_once(tmp_path: Path, line: str, value: str) -> None:
    message = refusal(project(tmp_path, f"{GOOD}{line}\n"))
    assert message.count(f"found {value!r}") == 1


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    message = refusal(
        project(tmp_path, GOOD.replace("settle", "setle"), sales='timezone = "Europe/Londn"')
    )
    assert "sources.sales.setle" in message
    assert "streams/sales.toml: timezone" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[columns]\n_rescue = "varchar"', "belongs to headrace"),
        ('[columns]\nEvent_Date = "date"', "belongs to headrace"),
        ('[columns]\na = "varchar"\nA = "varchar"', "only in case"),
        ('unique = ["b"]\n[columns]\na = "varchar"', "'b' is not one of the columns"),
        ('[columns]\na = { type = "varchar", requird = true }', '"required"'),
        ('event_time = { from = "filename" }', "pattern"),
        ('event_time = { column = "a", format = "iso" }', "epoch_ms"),
    ],
)
def test_a_contract_that_cannot_be_meant_is_refused(
    tmp_path: Path, text: str, expected: str
) -> None:
    message = refusal(project(tmp_path, sales=text))
    assert "streams/sales.toml" in message
    assert expected in message


def test_the_environment_wins_over_dotenv_and_dotenv_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path)
    (folder / ".env").write_text("HEADRACE_LAKE__URI=s3://from/dotenv\nOTHER_SECRET=1\n")
    assert load_config(folder).lake_uri == "s3://from/dotenv"
    monkeypatch.setenv("HEADRACE_LAKE__URI", "s3://from/environment/")
    monkeypatch.setenv("HEADRACE_SOURCES__SALES__SETTLE", "9s")
    config = load_config(folder)
    assert config.lake_uri == "s3://from/environment"
    assert config.file_sources["sales"].settle == 9.0
    assert config.file_sources["sales"].path == "inbox"


def test_dotenv_does_not_leak_into_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_LAKE__URI", raising=False)
    folder = project(tmp_path)
    (folder / ".env").write_text("HEADRACE_LAKE__URI=s3://from/dotenv\n")
    load_config(folder)
    (folder / ".env").unlink()
    assert load_config(folder).lake_uri == str(folder / "lake")


def test_a_misspelt_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_LAEK__URI", "x")
    assert '"lake"' in refusal(project(tmp_path))


def test_a_wrong_value_from_the_environment_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_CONSUME__BATCH_ROWS", "many")
    message = refusal(project(tmp_path))
    assert message.startswith("environment: consume.batch_rows")


def test_a_value_can_stand_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path, GOOD + '\n[lake.options]\nkey = { env = "LAKE_KEY" }\n')
    monkeypatch.delenv("LAKE_KEY", raising=False)
    assert "LAKE_KEY is not set" in refusal(folder)
    monkeypatch.setenv("LAKE_KEY", "secret")
    assert load_config(folder).settings.lake.options == {"key": "secret"}


def test_a_lake_folder_that_tables_cannot_be_in_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "my [data]"
    folder.mkdir()
    message = refusal(project(folder))
    assert "lake.uri" in message
    assert "[ ]" in message


def test_a_source_that_holds_the_lake_is_refused(tmp_path: Path) -> None:
    message = refusal(project(tmp_path, GOOD.replace('"inbox"', '"."')))
    assert "sources.sales.path" in message
    assert "holds the lake" in message


@pytest.mark.parametrize(
    ("other", "twice"),
    [
        ('path = "inbox/sub"', True),
        ('path = "inbox/sub/../sub"\npatterns = ["n*.csv"]', True),
        ('path = "inbox"\npatterns = ["*.CSV"]', True),
        ('path = "."\npatterns = ["inbox/*.csv"]', True),
        ('path = "inbox"\npatterns = ["*.log"]', False),
        ('path = "inbox2"', False),
        ('path = "s3://inbox/sub"', False),
    ],
)
def test_sources_whose_files_may_be_the_same_are_refused(
    tmp_path: Path, other: str, twice: bool
) -> None:
    lake = GOOD.replace("[project]", '[lake]\nuri = "../lake"\n[project]', 1)
    text = f'{lake}\n[sources.again]\nkind = "files"\nstream = "sales"\n{other}\n'
    if twice:
        assert "sales and again take the same files" in refusal(project(tmp_path, text))
    else:
        load_config(project(tmp_path, text))


def test_a_folder_within_another_may_be_left_out_by_that_one(tmp_path: Path) -> None:
    outer = GOOD.replace('path = "inbox"', 'path = "inbox"\nignore = ["sub"]')
    inner = '\n[sources.again]\nkind = "files"\npath = "inbox/sub"\nstream = "sales"\n'
    load_config(project(tmp_path, outer + inner))


def test_two_sources_of_the_same_files_are_refused(tmp_path: Path) -> None:
    other = '\n[sources.again]\nkind = "files"\npath = "./inbox"\nstream = "sales"\n'
    message = refusal(project(tmp_path, GOOD + other))
    assert "sales and again take the same files" in message
