"""One pool's streams leave room for another's."""

import pytest

from memory_service.errors import Overloaded
from memory_service.serving.admission import Lane
from memory_service.serving.stream_shares import StreamShares


def test_one_pool_gets_three_quarters_of_a_class_and_gets_them_back() -> None:
    shares = StreamShares({Lane.READ_STREAMS: 4, Lane.IMPORTS: 1})
    for method in ("Fetch", "ExportVideo", "Fetch"):
        shares.enter(method, "greedy")
    with pytest.raises(Overloaded) as caught:
        shares.enter("Fetch", "greedy")
    assert caught.value.retry_after_ms > 0
    shares.enter("Fetch", "modest")
    shares.enter("ImportVideo", "greedy")
    shares.leave("ExportVideo", "greedy")
    shares.enter("Fetch", "greedy")


def test_calls_that_are_no_streams_are_not_counted() -> None:
    shares = StreamShares({Lane.READ_STREAMS: 1})
    for _ in range(10):
        shares.enter("Advance", "pool")
    shares.leave("Advance", "pool")
