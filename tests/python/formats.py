"""bf16 and fp8 for tests, by tables of all their values; numpy has neither.

SPDX-License-Identifier: Apache-2.0
"""

import numpy

import shoal

DTYPES = list(shoal.DType)
_NUMPY = {
    shoal.DType.I8: "i1",
    shoal.DType.U8: "u1",
    shoal.DType.I32: "i4",
    shoal.DType.U32: "u4",
    shoal.DType.I64: "i8",
    shoal.DType.U64: "u8",
    shoal.DType.F16: "f2",
    shoal.DType.F32: "f4",
    shoal.DType.F64: "f8",
}
_BITS = {shoal.DType.BF16: "u2", shoal.DType.F8E4M3: "u1", shoal.DType.F8E5M2: "u1"}


def _decode_small(exponent_bits: int, mantissa_bits: int) -> numpy.ndarray:
    """Values of the positive codes of a small float, specials aside."""
    bias = (1 << (exponent_bits - 1)) - 1
    codes = numpy.arange(1 << (exponent_bits + mantissa_bits))
    exponent, mantissa = codes >> mantissa_bits, codes & ((1 << mantissa_bits) - 1)
    fraction = mantissa / (1 << mantissa_bits)
    normal = (1 + fraction) * 2.0 ** (exponent - bias)
    return numpy.where(exponent == 0, fraction * 2.0 ** (1 - bias), normal)


def _table(dtype: shoal.DType) -> numpy.ndarray:
    if dtype == shoal.DType.BF16:
        codes = numpy.arange(0x7F80, dtype="u4") << 16
        return codes.view("f4").astype("f8")
    if dtype == shoal.DType.F8E4M3:
        return _decode_small(4, 3)[:0x7F]
    return _decode_small(5, 2)[:0x7C]


_TABLES = {dtype: _table(dtype) for dtype in _BITS}


def is_native(dtype: shoal.DType) -> bool:
    """Whether numpy has the type."""
    return dtype in _NUMPY


def is_integer(dtype: shoal.DType) -> bool:
    """Whether it is one of the integer types."""
    return dtype <= shoal.DType.U64


def encode(values: numpy.ndarray, dtype: shoal.DType) -> numpy.ndarray:
    """Non-negative values that the type holds exactly, as numpy's type or as its bits."""
    if is_native(dtype):
        return values.astype(_NUMPY[dtype])
    table = _TABLES[dtype]
    codes = numpy.searchsorted(table, values)
    assert (table[codes] == values).all(), f"{dtype} does not hold these values exactly"
    return codes.astype(_BITS[dtype])


def zeros(count: int, dtype: shoal.DType) -> numpy.ndarray:
    """An empty result."""
    return numpy.zeros(count, dtype=_NUMPY.get(dtype) or _BITS[dtype])


def decode(array: numpy.ndarray, dtype: shoal.DType) -> numpy.ndarray:
    """The values as float64."""
    return array.astype("f8") if is_native(dtype) else _TABLES[dtype][array]
