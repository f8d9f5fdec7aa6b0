"""Raw memory: addresses of Python buffers, views of C memory, and DLPack capsules.

Users take them from _ffi.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_int32,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, NamedTuple

_first_byte = ctypes.c_char.from_buffer
_addressof = ctypes.addressof


def writable_address(exporter: Any) -> int:
    """Where a writable C-contiguous buffer lies. TypeError or ValueError: it is not that."""
    return _addressof(_first_byte(exporter))


class _PyBuffer(Structure):
    _fields_ = [
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    ]


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, POINTER(_PyBuffer), c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [POINTER(_PyBuffer)]
_release_buffer.restype = None


def view_address(view: memoryview) -> int:
    """Where a C-contiguous view lies, writable or not; it stays there while the view lives."""
    raw = _PyBuffer()
    _get_buffer(view, ctypes.byref(raw), 0)
    address = raw.buf or 0
    _release_buffer(ctypes.byref(raw))
    return address


def view_memory(address: int, nbytes: int, code: str, owner: object) -> memoryview:
    """Items of format `code` at an address, as a writable view that keeps the owner alive."""
    array: Any = (ctypes.c_ubyte * nbytes).from_address(address)
    array.owner = owner
    view: Any = memoryview(array).cast("B")
    typed: memoryview = view.cast(code)
    return typed


# ---- DLPack ------------------------------------------------------------------------------------


class _DLTensor(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", POINTER(ctypes.c_int64)),
        ("strides", POINTER(ctypes.c_int64)),
        ("byte_offset", c_uint64),
    ]


class _DLManagedTensorVersioned(Structure):
    _fields_ = [
        ("major", c_uint32),
        ("minor", c_uint32),
        ("manager_ctx", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("dl_tensor", _DLTensor),
    ]


class DLTensor(NamedTuple):
    """What a DLPack capsule describes. Strides are in elements; None means C-contiguous."""

    address: int
    device_type: int
    code: int
    bits: int
    lanes: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    readonly: bool


_capsule_is = ctypes.pythonapi.PyCapsule_IsValid
_capsule_is.argtypes = [ctypes.py_object, c_char_p]
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.argtypes = [ctypes.py_object, c_char_p]
_capsule_pointer.restype = c_void_p

DLPACK_MAJOR = 1
_DLPACK_READ_ONLY = 1


def read_dlpack(capsule: object) -> DLTensor:
    """Read a capsule without taking it over: the memory lives as long as the capsule does."""
    if _capsule_is(capsule, b"dltensor_versioned"):
        address = _capsule_pointer(capsule, b"dltensor_versioned")
        managed = _DLManagedTensorVersioned.from_address(address)
        if managed.major > DLPACK_MAJOR:
            raise ValueError(f"DLPack version {managed.major}.{managed.minor} is not known")
        tensor, readonly = managed.dl_tensor, bool(managed.flags & _DLPACK_READ_ONLY)
    elif _capsule_is(capsule, b"dltensor"):
        tensor = _DLTensor.from_address(_capsule_pointer(capsule, b"dltensor"))
        readonly = False
    else:
        raise ValueError("__dlpack__ did not return an unused DLPack capsule")
    ndim = tensor.ndim
    return DLTensor(
        (tensor.data or 0) + tensor.byte_offset,
        tensor.device_type,
        tensor.code,
        tensor.bits,
        tensor.lanes,
        tuple(tensor.shape[:ndim]) if ndim else (),
        tuple(tensor.strides[:ndim]) if ndim and tensor.strides else None,
        readonly,
    )
