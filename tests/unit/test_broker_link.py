"""A link that another delivery's failure has closed."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace.config import BrokerSection
from headrace.producers.broker_link import BrokerLink, LinkLostError


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
