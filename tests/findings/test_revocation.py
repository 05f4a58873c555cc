"""A revocation's marker collides with an append that is under way.

design.md, "Guarantees", *Revoke is durable*.
"""

from __future__ import annotations

from collections import Counter

from headrace.errors import CommitRefusedError
from headrace.lakehouse import revocations
from headrace.lakehouse.delta import Lake
from headrace.lakehouse.revocations import Revocation, revoke
from support.appender import Appender, landed_ids, part
from support.protection import Protection
from support.topic_records import TOPIC, delivery


def test_a_marker_alone_does_not_stop_an_append_that_has_selected_its_rows(
    protection: Protection, lake: Lake
) -> None:
    """The marker carries the `txn` of the delivery's topic partition, unchanged.

    Taken out: it increments `revoked` alone. The delete then finds no rows and ends.
    """
    mark = revocations._mark
    protection.is_replaced_by(
        revocations, "_mark", lambda bronze, topic, _: mark(bronze, topic, ())
    )
    appender = Appender(lake)
    prepared = appender.prepare(part(1, 0, 10))
    assert revoke(lake, "sales", TOPIC, [Revocation(delivery(1), 0)]) == 0
    with protection.refuses(CommitRefusedError):
        appender.append(prepared)
    protection.check(Counter(), landed_ids(lake), doubled=10)
