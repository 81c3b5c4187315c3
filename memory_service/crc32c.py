"""CRC-32C (Castagnoli) of buffers, and of two buffers joined when that of each is known.

A checksum is a polynomial over GF(2), its highest term in the lowest bit. Joining multiplies the first by x
to the power of the second's number of bits, as zlib's crc32_combine does with another polynomial.
"""

from functools import lru_cache

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from memory_service.types import Buffer

_POLYNOMIAL = 0x82F63B78
_ONE = 1 << 31
_EXTEND_BELOW_BYTES = 1 << 17
"""Below this reading the second buffer again is cheaper than joining."""

_USES_BEFORE_TABLES = 64
"""So often a size must occur before its tables, 5 ms of work, are made: a latent's does, a preview's not."""


def crc32c(data: Buffer, crc: int = 0) -> int:
    """CRC-32C of `data`, continuing `crc`; copies nothing.

    google_crc32c refuses writable buffers and memoryviews but takes an array over the same bytes.
    """
    return int(google_crc32c.extend(crc, np.frombuffer(data, np.uint8))) if len(data) else crc


def crc32c_rows(rows: NDArray[np.uint8]) -> list[int]:
    """CRC-32C of each row of uint8 [n, B]."""
    return [google_crc32c.extend(0, row) for row in rows]


def joined(crc: int, data: Buffer, data_crc: int) -> int:
    """CRC-32C of some bytes with checksum `crc` followed by `data` with checksum `data_crc`."""
    if len(data) >= _EXTEND_BELOW_BYTES and (tables := _shift(len(data)).tables()) is not None:
        lowest, low, high, highest = tables
        shifted = lowest[crc & 255] ^ low[crc >> 8 & 255] ^ high[crc >> 16 & 255] ^ highest[crc >> 24]
        return shifted ^ data_crc
    return crc32c(data, crc)


class _Shift:
    """Multiplication of a checksum by x to the power of the bits in `num_bytes`, by tables.

    There is one for each byte of the checksum: multiplication is linear, so their products add up.
    """

    def __init__(self, num_bytes: int) -> None:
        self._num_bytes = num_bytes
        self._uses = 0
        self._tables: tuple[tuple[int, ...], ...] | None = None

    def tables(self) -> tuple[tuple[int, ...], ...] | None:
        """The four tables; None while the size has not occurred often enough to be worth them."""
        self._uses += 1
        if self._tables is None and self._uses > _USES_BEFORE_TABLES:
            power = _power(self._num_bytes)
            self._tables = tuple(
                tuple(_product(power, byte << shift) for byte in range(256)) for shift in (0, 8, 16, 24)
            )
        return self._tables


@lru_cache(maxsize=64)
def _shift(num_bytes: int) -> _Shift:
    return _Shift(num_bytes)


def _product(a: int, b: int) -> int:
    """a * b modulo the polynomial."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


def _power(num_bytes: int) -> int:
    """x to the power of the bits in `num_bytes`, modulo the polynomial."""
    square, power = _ONE >> 8, _ONE
    while num_bytes:
        if num_bytes & 1:
            power = _product(square, power)
        square = _product(square, square)
        num_bytes >>= 1
    return power
