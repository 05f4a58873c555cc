"""What makes a delivery new, and what a repetition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.producers.identity import Accepted, original_of


class History:
    """Deliveries of one source as they arrive, judged one after the other."""

    def __init__(self) -> None:
        self.accepted: list[Accepted] = []
        self.arrivals = 0

    def arrive(self, name: str, content: str) -> str | None:
        self.arrivals += 1
        original = original_of(name, content, self.accepted)
        if original is None:
            self.accepted.append(Accepted(f"{self.arrivals:06}", name, content))
        return original


def test_the_first_of_a_content_is_accepted() -> None:
    assert History().arrive("a.csv", "A") is None


def test_the_same_content_under_another_name_is_a_duplicate_and_names_its_original() -> None:
    history = History()
    history.arrive("a.csv", "A")
    assert history.arrive("b.csv", "A") == "000001"


def test_a_b_a_under_one_name_are_three_deliveries() -> None:
    history = History()
    assert [history.arrive("a.csv", content) for content in "ABA"] == [None, None, None]


def test_a_touched_file_repeats_the_latest_of_its_name() -> None:
    history = History()
    history.arrive("a.csv", "A")
    history.arrive("a.csv", "B")
    history.arrive("a.csv", "A")
    assert history.arrive("a.csv", "A") == "000003"


def test_content_that_was_replaced_under_its_name_still_counts_for_other_names() -> None:
    history = History()
    history.arrive("a.csv", "A")
    history.arrive("a.csv", "B")
    assert history.arrive("b.csv", "A") == "000001"
    assert history.arrive("b.csv", "B") == "000002"


def test_a_duplicate_does_not_make_its_name_known() -> None:
    history = History()
    history.arrive("a.csv", "A")
    history.arrive("b.csv", "A")
    history.arrive("b.csv", "B")
    assert history.arrive("a.csv", "A") == "000001"
    assert history.arrive("b.csv", "A") == "000001"


arrivals = st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("ABCD")), max_size=30)


@given(arrivals)
def test_a_content_is_accepted_under_one_name_only(sequence: list[tuple[str, str]]) -> None:
    history = History()
    for name, content in sequence:
        history.arrive(name, content)
    names: dict[str, set[str]] = {}
    for delivery in history.accepted:
        names.setdefault(delivery.content_hash, set()).add(delivery.name)
    assert all(len(of_content) == 1 for of_content in names.values())
    assert set(names) == {content for _, content in sequence}


@given(arrivals)
def test_under_one_name_no_content_is_accepted_twice_in_a_row(
    sequence: list[tuple[str, str]],
) -> None:
    history = History()
    for name, content in sequence:
        history.arrive(name, content)
    latest: dict[str, str] = {}
    for delivery in history.accepted:
        assert latest.get(delivery.name) != delivery.content_hash
        latest[delivery.name] = delivery.content_hash


@given(arrivals, st.randoms())
def test_the_order_in_which_the_accepted_are_listed_does_not_matter(
    sequence: list[tuple[str, str]], random: object
) -> None:
    history = History()
    for name, content in sequence:
        history.arrive(name, content)
    shuffled = list(history.accepted)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for name in "xyz":
        for content in "ABCD":
            assert original_of(name, content, shuffled) == original_of(
                name, content, history.accepted
            )


@given(arrivals, st.sampled_from("xyz"), st.sampled_from("ABCD"))
def test_what_the_ledger_looks_up_is_enough_to_decide(
    sequence: list[tuple[str, str]], name: str, content: str
) -> None:
    """`Ledger.accepted_like` hands over the same content and the latest of the same name."""
    history = History()
    for arrived_name, arrived_content in sequence:
        history.arrive(arrived_name, arrived_content)
    same_content = [d for d in history.accepted if d.content_hash == content]
    latest = [d for d in history.accepted if d.name == name][-1:]
    assert original_of(name, content, same_content + latest) == original_of(
        name, content, history.accepted
    )
