"""CRC-32C of any buffer, and of joined ones."""

import google_crc32c
import numpy as np
import pytest

from memory_service.crc32c import crc32c, joined


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))])
def test_any_buffer_has_the_checksum_of_its_bytes(kind: type) -> None:
    data = np.random.default_rng(0).bytes(1000)
    assert crc32c(kind(data)) == google_crc32c.value(data)
    assert crc32c(kind(data[400:]), crc32c(kind(data[:400]))) == google_crc32c.value(data)
    assert crc32c(kind(b""), 7) == 7


def test_known_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("size", [0, 1, 64, 4096, (1 << 17) - 1, 1 << 17, 199_680, 1_000_003])
@pytest.mark.parametrize("before", [0, 1, 64, 12_288])
def test_joined_is_the_checksum_of_the_concatenation(before: int, size: int) -> None:
    first, second = (np.random.default_rng(1).bytes(n) for n in (before, size))
    for _ in range(70):  # by reading at first, by tables once the size has occurred often
        assert joined(crc32c(first), second, crc32c(second)) == google_crc32c.value(first + second)
