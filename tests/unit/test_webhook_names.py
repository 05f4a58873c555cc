"""The name of a CloudEvent: as it was for most, and another for each."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.producers.webhook.cloud_events import EventName

# What the names are made of, and what might be taken for it.
PART = st.lists(
    st.sampled_from([" ", "  ", "%", "%20", "%25", "2", "0", "a"]), min_size=1, max_size=4
).map("".join)


@given(PART, PART, PART, PART)
@example("shop", "7 a", "shop 7", "a")
@example("shop 7", "a", "shop%207", "a")
def test_two_events_have_two_names(source: str, id_: str, other: str, other_id: str) -> None:
    same = (source, id_) == (other, other_id)
    assert (str(EventName(source, id_)) == str(EventName(other, other_id))) is same


@pytest.mark.parametrize("source", ["/shop", "https://example.com/a%20b?c=%25", "urn:x:\u00e4"])
def test_names_without_a_space_are_those_that_were_given_ever(source: str) -> None:
    assert str(EventName(source, "7%20a")) == f"{source} 7%20a"
