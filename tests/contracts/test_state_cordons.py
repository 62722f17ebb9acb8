"""Cordons of hosts are kept with who made them and when, on each store."""

from __future__ import annotations

import pytest

from reconciler.errors import StateMoved
from reconciler.spec.models.names import HostName
from reconciler.state.store import StateStore
from tests.contracts.states import ANNA, LAB1, allocation, plan

ONE, TWO = HostName("worker1"), HostName("worker2")


def test_a_host_is_cordoned_once_and_uncordoned(store: StateStore) -> None:
    first = store.cordon(TWO, "anna")
    assert store.cordon(TWO, "bert") == first
    assert first.user == "anna"
    other = store.cordon(ONE, "bert")
    assert list(store.cordons().items()) == [(ONE, other), (TWO, first)]
    assert store.read(()).cordoned == store.cordons()
    assert (store.uncordon(TWO), store.uncordon(TWO)) == (first, None)
    assert store.read(()).cordoned == {ONE: other}


def test_a_plan_that_gives_out_numbers_is_stale_after_a_cordon(store: StateStore) -> None:
    made = plan(store, {LAB1: allocation()})
    store.cordon(ONE, "anna")
    with pytest.raises(StateMoved):
        store.begin(made, ANNA, "")
    made = plan(store, {LAB1: allocation()})
    store.uncordon(ONE)
    with pytest.raises(StateMoved):
        store.begin(made, ANNA, "")
