"""The progress of a pass: bars on a terminal, quiet otherwise; notices always."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Self

import click

from headrace.cli.one_pass import NoProgress, PassProgress
from headrace.cli.signals import exit_on_signals


@contextmanager
def pass_progress() -> Iterator[PassProgress]:
    """Bars on standard error where a person looks at it."""
    if not sys.stderr.isatty():
        yield QuietProgress()
        return
    bars = BarProgress()
    with bars:
        yield bars


@cache
def _exit_on_signals_once() -> None:
    exit_on_signals()


class _Waits:
    """What polls wait for: each is told once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def untold(self, data: dict[str, object]) -> Iterator[str]:
        """Those in a producer's figures that were not told yet."""
        waits = data.get("waits", ())
        for text in waits if isinstance(waits, list | tuple) else ():
            if text not in self._told:
                self._told.add(text)
                yield str(text)


class QuietProgress(NoProgress):
    """No bars; notices as lines on standard error."""

    def __init__(self) -> None:
        self._waits = _Waits()

    def produced(self, data: dict[str, object]) -> None:
        """What it waits for is a notice; else a run would be silent for minutes."""
        for text in self._waits.untold(data):
            self.notice(text)

    def refreshing(self, what: str) -> None:  # noqa: ARG002
        """The roles are gone: nothing has to be stopped in order any more."""
        _exit_on_signals_once()

    def notice(self, text: str) -> None:
        """One line."""
        click.echo(text, err=True)


class BarProgress:
    """Rich's bars: requests of polled sources, deliveries, records landed, then the tables."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        self._waits = _Waits()
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            Elapsed(),
            console=Console(stderr=True),
            transient=True,
        )
        self._ask = self._bars.add_task("ask", total=None, unit="requests", visible=False)
        self._publish = self._bars.add_task("publish", total=None, unit="deliveries")
        self._land = self._bars.add_task("land", total=None, unit="records")
        self._refresh = self._bars.add_task("refresh", total=None, unit="tables", visible=False)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def produced(self, data: dict[str, object]) -> None:
        """The producer's figures move the first bar and the second one's total."""
        for text in self._waits.untold(data):
            self.notice(text)
        figures = {name: value for name, value in data.items() if isinstance(value, int)}
        self._bars.update(
            self._publish,
            total=figures.get("deliveries_total"),
            completed=figures.get("deliveries_done", 0),
        )
        if figures.get("requests_total", 0) > 1:
            self._bars.update(
                self._ask,
                visible=True,
                total=figures["requests_total"],
                completed=figures.get("requests_done", 0),
            )
        if "records_total" in figures:
            self._bars.update(self._land, total=figures["records_total"])

    def landed(self, rows: int) -> None:
        """Rows of one more bronze commit."""
        self._bars.advance(self._land, rows)

    def refreshing(self, what: str) -> None:
        """The table at work; the roles are gone."""
        _exit_on_signals_once()
        self._bars.update(self._refresh, visible=True, unit=what)
        self._bars.advance(self._refresh)

    def notice(self, text: str) -> None:
        """A line above the bars."""
        self._bars.console.print(text)
