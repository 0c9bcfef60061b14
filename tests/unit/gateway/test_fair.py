"""The fair queue: shares of tenants and of classes, whatever comes in whatever order."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fair import WEIGHTS, FairQueue
from gateway.principal import Priority

NORMAL = Priority.NORMAL


def filled(*entries):
    """A queue of (name, flow, priority, cost)."""
    queue = FairQueue()
    for name, *rest in entries:
        queue.push(name, *rest)
    return queue


def test_of_one_tenant_first_come_is_first_served():
    queue = filled(*[(number, "a", NORMAL, 1.0) for number in range(5)])
    assert [queue.pop() for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError):
        queue.pop()


def test_a_tenant_with_one_call_waits_for_one_of_a_flood():
    queue = filled(*[(f"flood {n}", "flood", NORMAL, 1.0) for n in range(100)])
    queue.push("one", "quiet", NORMAL, 1.0)
    assert "one" in [queue.pop() for _ in range(2)]


def test_tenants_share_by_cost_not_by_calls():
    queue = FairQueue()
    for number in range(400):
        queue.push(("heavy", number), "heavy", NORMAL, 4.0)
        queue.push(("light", number), "light", NORMAL, 1.0)
    served = Counter(queue.pop()[0] for _ in range(250))
    assert served["light"] == pytest.approx(4 * served["heavy"], rel=0.05)


def test_classes_share_by_weight_and_none_starves():
    queue = FairQueue()
    for number, priority in itertools.product(range(300), Priority):
        queue.push((priority, number), "same", priority, 1.0)
    served = Counter(queue.pop()[0] for _ in range(210))
    total = sum(WEIGHTS.values())
    for priority, weight in WEIGHTS.items():
        assert served[priority] == pytest.approx(210 * weight / total, abs=2)


def test_a_class_that_comes_back_has_no_claim_on_the_time_before():
    queue = filled(*[(n, "a", NORMAL, 1.0) for n in range(200)])
    for _ in range(100):
        queue.pop()
    for number in range(100):
        queue.push(f"low {number}", "b", Priority.LOW, 1.0)
    served = [queue.pop() for _ in range(20)]
    assert sum(isinstance(each, str) for each in served) <= 6  # its fifth, and the first turn


def test_what_was_removed_does_not_come():
    queue = filled(("a", "one", NORMAL, 1.0), ("b", "one", NORMAL, 1.0), ("c", "two", Priority.LOW, 1.0))
    assert queue.remove("a")
    assert not queue.remove("a")
    assert queue.remove("c")
    assert (len(queue), queue.pop(), len(queue)) == (1, "b", 0)


def test_the_longest_flow_gives_its_newest_call_of_the_lowest_class():
    queue = filled(
        ("a", "long", Priority.HIGH, 1.0),
        ("b", "long", Priority.LOW, 1.0),
        ("c", "long", Priority.LOW, 1.0),
        ("d", "short", Priority.LOW, 1.0),
    )
    assert queue.longest() == ("long", 3, "c")
    assert (queue.waiting("long"), queue.waiting("short"), queue.waiting("none"), queue.flows()) == (
        3,
        1,
        0,
        2,
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sampled_from(list(Priority)),
            st.floats(0, 1000),
            st.sampled_from(["push", "push", "pop", "remove"]),
        ),
        max_size=200,
    )
)
def test_everything_that_goes_in_comes_out_once(steps):
    queue, inside = FairQueue(), []
    for number, (flow, priority, cost, step) in enumerate(steps):
        if step == "push":
            queue.push(number, flow, priority, cost)
            inside.append((flow, priority, number))
        elif step == "pop" and inside:
            came = queue.pop()
            entry = next(each for each in inside if each[2] == came)
            # Nobody overtakes within a tenant's class.
            assert entry == next(each for each in inside if each[:2] == entry[:2])
            inside.remove(entry)
        elif step == "remove" and inside:
            assert queue.remove(inside[0][2])
            inside.pop(0)
        assert len(queue) == len(inside)
    assert sorted(queue.pop() for _ in range(len(queue))) == sorted(number for *_, number in inside)
