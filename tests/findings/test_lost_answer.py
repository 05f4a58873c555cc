"""A commit whose answer is lost is looked for before it is tried again.

design.md, "Guarantees", *Every commit that changes data carries a `txn`*.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

import pytest
from deltalake import CommitProperties

from headrace.lakehouse import delta
from parts.availability import REPOSITORY
from parts.s3 import S3Server
from support.protection import Protection
from support.small_lake import SmallLake, make_contract

CONTRACT: Final = make_contract({"n": "integer"})

# A process of its own: delta-rs keeps Python's other threads from running while it reads a log.
PROXY: Final = """
import sys
from faults.proxy import FaultyProxy
with FaultyProxy(int(sys.argv[1])) as proxy:
    print(proxy.port, flush=True)
    for line in sys.stdin:
        if line == "lose\\n":
            proxy.lose_answers(1)
        print(proxy.answers_lost, flush=True)
"""


class Proxy:
    """Between a lake and its store: it can lose the answer to a commit."""

    def __init__(self, asked: IO[str], answers: IO[str]) -> None:
        self._asked = asked
        self._answers = answers
        self.endpoint = f"http://127.0.0.1:{int(answers.readline())}"

    def lose_an_answer(self) -> None:
        """Pass the next Delta commit on, and hang up instead of answering."""
        self._ask("lose")

    @property
    def answers_lost(self) -> int:
        """How many it has lost."""
        return self._ask("count")

    def _ask(self, what: str) -> int:
        self._asked.write(what + "\n")
        self._asked.flush()
        return int(self._answers.readline())


@contextmanager
def proxy_before(server: S3Server) -> Iterator[Proxy]:
    """A proxy before a store, for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROXY, str(urlsplit(server.endpoint).port)],
        cwd=REPOSITORY / "tests",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Proxy(process.stdin, process.stdout)
    finally:
        process.kill()
        process.communicate()


def without_positions(**properties: Any) -> object:
    """What a commit carries, but for its `txn`s."""
    return CommitProperties(**{**properties, "app_transactions": None})


def test_an_append_whose_answer_was_lost_is_in_the_change_feed_once(
    protection: Protection, tmp_path: Path, s3_server: S3Server, s3_bucket: str
) -> None:
    """Each commit carries a `txn`: delta-rs, which tries again by itself, meets its own and stops.

    Taken out: it finds the version taken, takes the next one and adds the same file again. The
    table has the file once, its change feed has its rows twice, and silver with it.
    """
    with proxy_before(s3_server) as proxy:
        options = {**s3_server.storage_options, "AWS_ENDPOINT_URL": proxy.endpoint}
        small = SmallLake(tmp_path, options, f"s3://{s3_bucket}/lake")
        small.land([{"n": 0}], delivery=1)
        small.refresh(CONTRACT)
        with pytest.MonkeyPatch.context() as patch:
            if not protection.stands:
                patch.setattr(delta, "CommitProperties", without_positions)
            proxy.lose_an_answer()
            small.land([{"n": n} for n in range(10)], delivery=2)
        assert proxy.answers_lost == 1
        small.refresh(CONTRACT)
        bronze = small.table("bronze").scan(["event_id"]).read_all()
        silver = small.table("silver").scan(["_event_id"]).read_all()
    expected = Counter(bronze["event_id"].to_pylist())
    assert (len(expected), expected.total()) == (11, 11)
    protection.check(expected, Counter(silver["_event_id"].to_pylist()), doubled=10)
