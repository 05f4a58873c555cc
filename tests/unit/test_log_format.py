"""Log lines as a person and as a program reads them."""

from __future__ import annotations

import json

import click

from headrace.cli.log_format import human_line, json_line
from headrace.infra.role_log_lines import parse_line

LANDED = {
    "stream": "sales",
    "name": "two words.csv",
    "event": "landed",
    "role": "consume",
    "level": "info",
    "logger": "consume",
    "timestamp": "2026-11-21T00:58:13.153123Z",
}


def plain(role: str, text: str) -> str:
    return click.unstyle(human_line(parse_line(role, text)))


def test_a_line_begins_with_time_level_role_and_event() -> None:
    assert plain("consume", json.dumps(LANDED)) == (
        '2026-11-21 00:58:13.153Z info     consume     landed stream=sales name="two words.csv"'
    )


def test_a_traceback_follows_its_line() -> None:
    line = plain("consume", json.dumps({**LANDED, "exception": "Traceback\n  KeyError: 1"}))
    assert line.endswith("\nTraceback\n  KeyError: 1")


def test_what_is_no_log_line_stands_under_its_roles_name() -> None:
    assert plain("broker", "Segmentation fault").split() == ["broker", "Segmentation", "fault"]
    assert plain("broker", "[1, 2]").split() == ["broker", "[1,", "2]"]


def test_a_program_gets_one_object_a_line_and_always_the_role() -> None:
    stored = json.dumps(LANDED)
    assert json_line(parse_line("consume", stored)) == stored
    without = {name: value for name, value in LANDED.items() if name != "role"}
    assert json.loads(json_line(parse_line("consume", json.dumps(without)))) == LANDED
    crash = json.loads(json_line(parse_line("broker", "Segmentation fault", "2026-01-01")))
    assert crash == {"event": "Segmentation fault", "role": "broker", "timestamp": "2026-01-01"}
