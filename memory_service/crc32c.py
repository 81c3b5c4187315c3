"""CRC-32C (Castagnoli) of buffers, and of two buffers joined when that of each is known.

A checksum is a polynomial over GF(2), its highest term in the lowest bit. Joining multiplies the first by x
to the power of the second's number of bits, as zlib's crc32_combine does with another polynomial.
"""

from functools import lru_cache

import google_crc32c
import numpy as np

from memory_service.types import Buffer

_POLYNOMIAL = 0x82F63B78
_ONE = 1 << 31
_EXTEND_BELOW_BYTES = 1 << 17
"""Below this reading the second buffer again is cheaper than joining."""


def crc32c(data: Buffer, crc: int = 0) -> int:
    """CRC-32C of `data`, continuing `crc`; copies nothing.

    google_crc32c refuses writable buffers and memoryviews but takes an array over the same bytes.
    """
    return int(google_crc32c.extend(crc, np.frombuffer(data, np.uint8))) if len(data) else crc


def joined(crc: int, data: Buffer, data_crc: int) -> int:
    """CRC-32C of some bytes with checksum `crc` followed by `data` with checksum `data_crc`."""
    if len(data) < _EXTEND_BELOW_BYTES:
        return crc32c(data, crc)
    lowest, low, high, highest = _shift(len(data))
    shifted = lowest[crc & 255] ^ low[crc >> 8 & 255] ^ high[crc >> 16 & 255] ^ highest[crc >> 24]
    return shifted ^ data_crc


def _product(a: int, b: int) -> int:
    """a * b modulo the polynomial."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@lru_cache(maxsize=64)
def _shift(num_bytes: int) -> tuple[tuple[int, ...], ...]:
    """A checksum times x to the power of the bits in `num_bytes`, as a table for each of its bytes.

    Multiplication is linear, so the products of the bytes add up. Few sizes occur: those of latents.
    """
    power = _power(num_bytes)
    return tuple(tuple(_product(power, byte << shift) for byte in range(256)) for shift in (0, 8, 16, 24))


def _power(num_bytes: int) -> int:
    """x to the power of the bits in `num_bytes`, modulo the polynomial."""
    square, power = _ONE >> 8, _ONE
    while num_bytes:
        if num_bytes & 1:
            power = _product(square, power)
        square = _product(square, square)
        num_bytes >>= 1
    return power
