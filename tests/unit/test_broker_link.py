"""A link that another delivery's failure has closed."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition

from headrace.config import BrokerSection
from headrace.infra.broker.server import BrokerServer
from headrace.producers.publishing.broker_link import BrokerLink, LinkLostError


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda link: link.send(None, "shop.sales", 0), id="send"),
        pytest.param(lambda link: link.partition_count("shop.sales"), id="partition_count"),
        pytest.param(lambda link: link.event_id_at("shop.sales", 0, 7), id="event_id_at"),
    ],
)
async def test_whoever_uses_a_closed_link_is_told_that_it_is_lost(
    use: Callable[[BrokerLink], Awaitable[Any]],
) -> None:
    link = BrokerLink("127.0.0.1:1", BrokerSection())
    await link.close()
    with pytest.raises(LinkLostError, match="closed"):
        await use(link)


async def test_no_batch_is_begun_on_a_closed_link() -> None:
    link = BrokerLink("127.0.0.1:1", BrokerSection())
    await link.close()
    with pytest.raises(LinkLostError, match="closed"):
        link.new_batch()


async def test_a_link_that_is_closed_amid_a_look_at_a_record_is_lost(
    embedded_broker: BrokerServer,
) -> None:
    link = BrokerLink(embedded_broker.bootstrap_servers, BrokerSection())
    await link.connect(["shop.sales"], 30)
    batch = link.new_batch()
    batch.append(timestamp=0, key=None, value=b"{}", headers=[("ce_id", b"7")])
    await (await link.send(batch, "shop.sales", 0))
    assert await link.event_id_at("shop.sales", 0, 0) == "7"
    # Where `close` finds it in `getone`, once the offsets have been asked for.
    asked, getone = link._reader, link._reader.getone

    async def closed_meanwhile(place: TopicPartition) -> Any:
        await link.close()
        return await getone(place)

    asked.getone = closed_meanwhile
    with pytest.raises(LinkLostError, match="Stopped"):
        await link.event_id_at("shop.sales", 0, 0)
