"""Memory that the ranks of a host reduce from and into directly, and registration of other memory.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import math
import sys
from typing import Any, Sequence, Union

from shoal import _ffi
from shoal.buffers import Buffer, DTypeLike, add_way, as_dtype, resolve
from shoal.context import Context, check, default_context
from shoal.enums import FOREIGN_NAMES, ITEM_BYTES, DType
from shoal.errors import InvalidArgument

Shape = Union[int, Sequence[int]]

_ORDER = "<" if sys.byteorder == "little" else ">"
# What numpy and memoryview cannot show they see as unsigned integers of the same size.
_TYPESTRS = ("|i1", "|u1", "i4", "u4", "i8", "u8", "f2", "u2", "f4", "f8", "|u1", "|u1")
_TORCH_NAMES = {dtype: name for name, dtype in FOREIGN_NAMES.items()}
FORMATS = ("b", "B", "i", "I", "q", "Q", "H", "H", "f", "d", "B", "B")


class Array:
    """Zeroed, page-aligned memory from shoal_mem_alloc, seen as an array.

    numpy.asarray(array) and memoryview-like users see the same memory without a copy, through
    __array_interface__ or array.view(). It is released when the last of them is gone.
    """

    _address: int | None = None

    def __init__(self, shape: Shape, dtype: DTypeLike = DType.F32, context: Context | None = None):
        self.dtype = as_dtype(dtype)
        self.shape = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
        if any(length < 0 for length in self.shape):
            raise InvalidArgument(f"shape {self.shape} has a negative length")
        self.size = math.prod(self.shape)
        self.nbytes = self.size * ITEM_BYTES[self.dtype]
        self._context = context or default_context()
        pointer = _ffi.new_handle()
        # An empty array has an address of its own, too.
        status = _ffi.lib.shoal_mem_alloc(
            self._context.handle, max(self.nbytes, 1), _ffi.byref(pointer)
        )
        check(status)
        self._address = pointer.value

    @property
    def address(self) -> int:
        """Where it lies."""
        assert self._address is not None
        return self._address

    @property
    def __array_interface__(self) -> dict[str, Any]:
        typestr = _TYPESTRS[self.dtype]
        return {
            "version": 3,
            "typestr": typestr if typestr[0] == "|" else _ORDER + typestr,
            "shape": self.shape,
            "data": (self.address, False),
        }

    def view(self) -> memoryview:
        """Writable view in one dimension; f16, bf16 and fp8 show as unsigned integers."""
        return _ffi.view_memory(self.address, self.nbytes, FORMATS[self.dtype], self)

    def numpy(self) -> Any:
        """As a numpy array; bf16 and fp8 show as unsigned integers."""
        import numpy

        return numpy.asarray(self)

    def torch(self) -> Any:
        """As a PyTorch tensor."""
        import torch

        dtype = getattr(torch, _TORCH_NAMES[self.dtype])
        if self.size == 0:
            return torch.empty(self.shape, dtype=dtype)
        raw = _ffi.view_memory(self.address, self.nbytes, "B", self)
        return torch.frombuffer(raw, dtype=dtype).reshape(self.shape)

    def __repr__(self) -> str:
        return f"shoal.Array(shape={self.shape}, dtype={self.dtype}, address={self._address:#x})"

    def __del__(self) -> None:
        if self._address is not None:
            _ffi.lib.shoal_mem_free(self._context.handle, self._address)


def _from_array(array: Array, dtype: DType | None, _writable: bool, role: str) -> Buffer:
    if dtype is not None and dtype != array.dtype:
        raise InvalidArgument(f"{role} holds {array.dtype}, but dtype={dtype} was given")
    return Buffer(array.address, array.size, array.dtype, array)


add_way(Array, _from_array)


def empty(shape: Shape, dtype: DTypeLike = DType.F32, context: Context | None = None) -> Array:
    """Memory for the fastest operations within a host; it happens to be zeroed.

    It goes where numpy.empty would: `grads = shoal.empty(1000).numpy()`.
    """
    return Array(shape, dtype, context)


class Registration:
    """Ordinary memory announced to Shoal, until close() or the end of a `with` block."""

    _address: int | None = None

    def __init__(self, buffer: Any, context: Context | None = None) -> None:
        found = resolve(buffer, None, False, "buffer")
        self._context = context or default_context()
        nbytes = found.elements * ITEM_BYTES[found.dtype]
        check(_ffi.lib.shoal_mem_register(self._context.handle, found.address, nbytes))
        self._address, self._pin = found.address, found.pin

    def close(self) -> None:
        """Take it back; twice is fine."""
        if self._address is not None:
            check(_ffi.lib.shoal_mem_deregister(self._context.handle, self._address))
            self._address = self._pin = None

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._address is not None:
            _ffi.lib.shoal_mem_deregister(self._context.handle, self._address)


def register(buffer: Any, context: Context | None = None) -> Registration:
    """Announce memory that will be used again and again. Registrations may not overlap."""
    return Registration(buffer, context)
