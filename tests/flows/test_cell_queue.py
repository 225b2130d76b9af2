"""Cells on workers: an evaluation follows its fine-tune, what fails is named, the others go on."""

from __future__ import annotations

import logging

import pytest

from bids_core.artifacts import ArtifactStore, Handle
from bids_core.config import RunConfig
from bids_core.errors import BidsError, NonFiniteError
from flows import cell_queue
from flows.cell_queue import CellQueue
from flows.dispatch import Item, Parcel
from tasks.cells import Cell


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path))


@pytest.fixture
def made(store, monkeypatch):
    """What the store holds already, by label; the handle of a call is named by its label."""
    held: set[str] = set()

    def call_parcel(_, call):
        if call.label == "evaluation broken":
            raise BidsError("its data is gone")
        handle = store.handle(call.task.name, f"{abs(hash(call.label)):032x}"[:32])
        if not store.holds(handle):
            with store.create(handle.stage, handle.fingerprint, version=1, config={}, inputs={}):
                pass
        if call.label in held:
            return handle, None
        return handle, Parcel(call.label, (Item(handle, call),), lambda items: {})

    monkeypatch.setattr(cell_queue, "call_parcel", call_parcel)
    return held


def queue(store, *cells):
    config = RunConfig.model_validate(
        {"store": store.url, "model": {"path": "m"}, "pool": [{"path": "p"}],
         "validation": [{"path": "v", "task": "t", "capability": "c"}]}
    )  # fmt: skip
    data = Handle(store=store.url, stage="prepare", fingerprint="0" * 32)
    return CellQueue(config, cells, data)


def picked(method, seed=0, **known):
    picks = Handle(store="s", stage="selection", fingerprint="1" * 32)
    return Cell(method=method, budget=4, n_rows=4, seed=seed, selection=picks, **known)


def taken(source):
    parcels = []
    while (parcel := source.next_parcel(2)) is not None:
        parcels.append(parcel)
    return parcels


def test_an_evaluation_is_ready_when_its_fine_tune_is_done_and_goes_first(store, made):
    source = queue(store, Cell(method="zero_shot"), picked("bids"), picked("random"))
    base, first = source.next_parcel(2), source.next_parcel(2)
    assert (base.label, first.label) == ("evaluation zero_shot", "finetune bids 4 rows seed 0")
    source.done(first.items[0])
    assert [parcel.label for parcel in taken(source)] == [
        "evaluation bids 4 rows seed 0", "finetune random 4 rows seed 0",
    ]  # fmt: skip
    bids = source.cells["bids 4 rows seed 0"]
    assert bids.tuned == first.items[0].handle
    assert bids.scores is None


def test_what_the_store_holds_is_not_handed_out(store, made):
    made |= {"finetune bids 4 rows seed 0", "evaluation zero_shot"}
    source = queue(store, Cell(method="zero_shot"), picked("bids"))
    (parcel,) = taken(source)
    assert parcel.label == "evaluation bids 4 rows seed 0"
    source.done(parcel.items[0])
    assert taken(source) == []
    assert all(cell.scores is not None for cell in source.cells.values())


def test_a_cell_that_fails_is_named_and_the_others_go_on(store, made, caplog):
    failed = picked("less", failed="selection: no such column")
    source = queue(store, failed, picked("bids"), Cell(method="broken"), picked("random"))
    with caplog.at_level(logging.WARNING):
        first, second = taken(source)
        source.failed(first, NonFiniteError("rows 'a'\nand more"))
        source.done(second.items[0])
        (last,) = taken(source)
    assert last.label == "evaluation random 4 rows seed 0"
    source.done(last.items[0])
    assert taken(source) == []
    assert {cell.method: cell.failed for cell in source.cells.values()} == {
        "less": "selection: no such column", "bids": "finetune: rows 'a'",
        "broken": "evaluation: its data is gone", "random": None,
    }  # fmt: skip
    assert "bids 4 rows seed 0 failed in finetune: rows 'a'\nand more" in caplog.text
