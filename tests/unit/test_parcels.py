"""Blocks in an outbox: which are waited for, and for how long."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from generator.errors import NotKeptError
from generator.history import outbox
from generator.history.outbox import Outbox, Parcel
from generator.history.recalled import Recalled
from generator.story.searching import NO_SEARCH
from memory_service.errors import Fenced, Unavailable
from memory_service.types import Block, VideoKey

KEY = VideoKey("tiny", "video")


def parcel(index: int) -> Parcel:
    return Parcel(Block(3 * index, np.zeros((3, 4), np.float32), {"latent": [b"x"] * 3}), NO_SEARCH, ())


@pytest.fixture
def boxes():
    made: list[Outbox] = []

    def box(exchange) -> Outbox:
        made.append(Outbox(KEY, exchange, patience_s=20))
        return made[-1]

    yield box
    for each in made:
        each.close()


def test_blocks_that_keep_arriving_are_waited_for(boxes) -> None:
    def slowly(_: Parcel) -> Recalled:
        time.sleep(0.2)
        return Recalled()

    box = boxes(slowly)
    parcels = [parcel(index) for index in range(6)]
    for each in parcels:
        box.put(each)
    box.settle(0.8)
    assert all(each.answer is not None for each in parcels)


def test_blocks_that_arrive_no_more_are_waited_for_no_longer(boxes) -> None:
    hanging = threading.Event()

    def only_the_first(each: Parcel) -> Recalled:
        if each.block.start:
            hanging.wait(20)
        return Recalled()

    box = boxes(only_the_first)
    for index in range(3):
        box.put(parcel(index))
    with pytest.raises(NotKeptError, match=r"frames \[3, 6\), \[6, 9\) of tiny/video: none in 0.2 s"):
        box.settle(0.2)
    hanging.set()
    box.settle(10)


def test_a_block_behind_one_that_failed_is_not_waited_for(boxes) -> None:
    def fenced(_: Parcel) -> Recalled:
        raise Fenced("epoch is over")

    box = boxes(fenced)
    first, second = parcel(0), parcel(1)
    box.put(first)
    with pytest.raises(Fenced):
        box.answer(first)
    box.put(second)
    assert second.settled.is_set()
    with pytest.raises(Fenced):
        box.answer(second)


def test_a_block_that_is_refused_for_its_size_may_come_again(boxes, monkeypatch) -> None:
    monkeypatch.setattr(outbox, "BUFFER_BYTES", 3)
    back, kept = threading.Event(), []

    def when_it_is_back(each: Parcel) -> Recalled:
        if not back.wait(0.01):
            raise Unavailable("gone")
        kept.append(each)
        return Recalled()

    box = boxes(when_it_is_back)
    first, second = parcel(0), parcel(1)
    box.put(first)
    with pytest.raises(NotKeptError, match=r"frames \[0, 3\), \[3, 6\) of tiny/video: more than 3 bytes"):
        box.put(second)
    back.set()
    box.settle(10)
    box.put(second)
    box.settle(10)
    assert kept == [first, second]
