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
        ('encoding = "rot13"', "rot13"),
        ('encoding = "base64"', "base64"),
        ('json.parallel = "a[0]"', "a[0]"),
    ],
)
def test_what_was_found_is_said_once(tmp_path: Path, line: str, value: str) -> None:
    message = refusal(project(tmp_path, f"{GOOD}{line}\n"))
    assert message.count(f"found {value!r}") == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('csv = { delimiter = ",", quote = "," }', "`delimiter` and `quote` are the same: ','"),
        ('csv = { delimiter = "||", escape = "|" }', "`delimiter` and `escape` are the same"),
        ('csv = { delimiter = "\\n" }', "`delimiter` cannot be the end of a line"),
        ('[sources."a b"]\nkind = "files"\npath = "x"\nstream = "x"', "sources: 'a b': expected"),
    ],
)
def test_what_no_file_could_be_read_with_is_refused_before_one_comes(
    tmp_path: Path, line: str, expected: str
) -> None:
    assert expected in refusal(project(tmp_path, f"{GOOD}{line}\n"))


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
        ('event_time = { column = "a", format = "%Q" }', "'Q' is a bad directive"),
        ('event_time = { column = "a", format = "%d.%m.%d" }', "redefinition"),
        ('event_time = { column = "a", format = "%Y-%" }', "stray %"),
        ('event_time = { from = "filename", pattern = "(" }', "regular expression, found '('"),
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


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ('"2026*.csv"', '"*sales.csv"', "2026sales.csv"),
        ('"a?.csv"', '"?b.csv"', "ab.csv"),
        ('"*.csv"', '"*.json", "[!x]*.CSV"', "0.csv"),
        ('"*.csv"]\nignore = ["*sales.csv"', '"*sales.csv"', None),
        ('"*"]\nignore = ["b/*"', '"b/c.csv"', None),
        ('"a?.csv"', '"a??.csv"', None),
    ],
)
def test_patterns_of_one_folder_are_refused_with_a_name_that_both_take(
    tmp_path: Path, one: str, other: str, both: str | None
) -> None:
    text = GOOD.replace('path = "inbox"', f'path = "inbox"\npatterns = [{one}]')
    text += '\n[sources.again]\nkind = "files"\npath = "./inbox"\nstream = "sales"\n'
    folder = project(tmp_path, f"{text}patterns = [{other}]\n")
    if both is None:
        load_config(folder)
        return
    message = refusal(folder)
    assert "sales and again take the same files" in message
    assert f"such as ./inbox/{both}" in message
    assert "`ignore`" in message


@pytest.mark.parametrize("link", ["to the folder", "to one above", "from below"])
def test_a_folder_and_a_link_to_it_are_the_same(tmp_path: Path, link: str) -> None:
    path = {"to the folder": "link", "to one above": "link/inbox", "from below": "link"}[link]
    text = f'\n[sources.again]\nkind = "files"\npath = "{path}"\nstream = "sales"\n'
    folder = project(tmp_path, GOOD + text)
    load_config(folder)
    (folder / "inbox" / "sub").mkdir(parents=True)
    target = {"to the folder": "inbox", "to one above": ".", "from below": "inbox/sub"}[link]
    (folder / "link").symlink_to(target)
    message = refusal(folder)
    assert "sales and again take the same files" in message
    assert f"such as {path}/" in message
    (folder / "link").unlink()
    (folder / "link").symlink_to("link")  # to itself: where that is, the source will say
    load_config(folder)


@pytest.mark.parametrize(
    ("outer", "inner", "twice"),
    [
        ("s3://bucket", "s3://bucket/inbox/", True),
        ("s3://bucket/inbox", "s3://bucket/inbox", True),
        ('s3://bucket"\nrecursive = false\nwatch="auto', "s3://bucket/inbox", False),
        ("s3://bucket/in", "s3://bucket/inbox", False),
        ('s3://bucket"\nignore = ["inbox"]\nwatch="auto', "s3://bucket/inbox", False),
    ],
)
def test_a_prefix_within_another_is_refused(
    tmp_path: Path, outer: str, inner: str, *, twice: bool
) -> None:
    text = GOOD.replace('path = "inbox"', f'path = "{outer}"')
    text += f'\n[sources.again]\nkind = "files"\npath = "{inner}"\nstream = "sales"\n'
    folder = project(tmp_path, text)
    if twice:
        assert "sales and again take the same files" in refusal(folder)
    else:
        load_config(folder)


def test_a_folder_within_another_may_be_left_out_by_that_one(tmp_path: Path) -> None:
    outer = GOOD.replace('path = "inbox"', 'path = "inbox"\nignore = ["sub"]')
    inner = '\n[sources.again]\nkind = "files"\npath = "inbox/sub"\nstream = "sales"\n'
    load_config(project(tmp_path, outer + inner))


def test_two_sources_of_the_same_files_are_refused(tmp_path: Path) -> None:
    other = '\n[sources.again]\nkind = "files"\npath = "./inbox"\nstream = "sales"\n'
    message = refusal(project(tmp_path, GOOD + other))
    assert "sales and again take the same files" in message
