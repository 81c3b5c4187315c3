"""Buffers of any size in chunks of one size."""

import numpy as np
import pytest

from memory_service.chunks import in_chunks
from memory_service.errors import InvalidArgument


@pytest.mark.parametrize(
    ("sizes", "expected"), [([], []), ([0], []), ([4], [4]), ([1, 2, 6], [4, 4, 1]), ([9, 0, 3], [4, 4, 4])]
)
def test_all_but_the_last_are_of_one_size(sizes: list[int], expected: list[int]) -> None:
    buffers = [np.random.default_rng(i).bytes(size) for i, size in enumerate(sizes)]
    chunks = list(in_chunks(buffers, 4))
    assert [len(chunk) for chunk in chunks] == expected
    assert b"".join(chunks) == b"".join(buffers)


def test_buffers_of_other_items_are_bytes() -> None:
    rows = np.arange(6, dtype=np.float32)
    assert b"".join(in_chunks([memoryview(rows)], 5)) == rows.tobytes()


@pytest.mark.parametrize("chunk", ["text", 7, memoryview(np.arange(6))[::2]])
def test_what_is_no_buffer_is_refused(chunk: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        list(in_chunks([chunk], 4))  # type: ignore[list-item]
    assert caught.value.field == "data"
