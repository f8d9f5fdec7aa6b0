"""What may be given as a buffer, and how its memory is found. Nothing is ever copied.

In this order: PyTorch CPU tensors and numpy arrays by a short path, DLPack, __array_interface__,
the buffer protocol. The caller of resolve() keeps what it returns as `pin` until the operation is
over: while it lives the memory stays where it is.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import sys
from typing import Any, Callable, NamedTuple, Optional, Union

from shoal import _ffi
from shoal.enums import DTYPE_NAMES, ITEM_BYTES, DType
from shoal.errors import InvalidArgument, Unsupported

DTypeLike = Union[DType, str, Any]

_RAW = -1  # items without a type of their own: uint8, uint16 or void, to be named by `dtype`


class Buffer(NamedTuple):
    """Memory of an operation."""

    address: int
    elements: int
    dtype: int
    pin: object


def as_dtype(dtype: DTypeLike) -> DType:
    """A DType from its name, or from a type of numpy, PyTorch or ml_dtypes."""
    if isinstance(dtype, DType):
        return dtype
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    found = DTYPE_NAMES.get(name.rpartition(".")[2].lower())
    if found is None:
        raise InvalidArgument(f"dtype {dtype!r} is not supported; {_supported()}")
    if getattr(dtype, "isnative", True) is False:
        raise InvalidArgument(f"dtype {dtype!r} has foreign byte order; convert it first")
    return found


def _supported() -> str:
    return "supported are " + " ".join(str(dtype) for dtype in DType)


# ---- which way for which type --------------------------------------------------------------------

Way = Callable[[Any, Optional[DType], bool, str], Buffer]

_ways: dict[type, Way] = {}


def add_way(cls: type, way: Way) -> None:
    """Say how buffers of a class are resolved."""
    _ways[cls] = way


def resolve(obj: Any, dtype: DType | None, writable: bool, role: str) -> Buffer:
    """Find the memory of `obj`.

    dtype     names the type of buffers that cannot say it (bf16 and fp8 as bytes or integers)
    writable  Shoal will write into it
    role      what the buffer is to the caller: "send", "recv"
    """
    way = _ways.get(type(obj))
    if way is None:
        way = _find_way(obj, role)
    return way(obj, dtype, writable, role)


def _find_way(obj: Any, role: str) -> Way:
    """Remembered by type, so that the question is asked once."""
    cls = type(obj)
    bases = {f"{base.__module__}.{base.__qualname__}" for base in cls.__mro__}
    way: Way
    if bases & {"torch.Tensor", "torch._tensor.Tensor"}:
        way = _from_torch
    elif "numpy.ndarray" in bases:
        way = _from_numpy
    elif hasattr(cls, "__dlpack__"):
        way = _from_dlpack
    elif hasattr(obj, "__array_interface__"):
        way = _from_array_interface
    else:
        try:
            memoryview(obj).release()
        except TypeError:
            raise InvalidArgument(
                f"{role} is a {cls.__module__}.{cls.__qualname__}, which has neither DLPack nor "
                "__array_interface__ nor the buffer protocol"
            ) from None
        way = _from_buffer
    _ways[cls] = way
    return way


# ---- checks --------------------------------------------------------------------------------------


def _final_type(own: int, item_bytes: int, dtype: DType | None, what: str, role: str) -> int:
    """The element type: the buffer's own, or the given one where the buffer has none."""
    if dtype is None:
        if own == _RAW:
            raise InvalidArgument(f"{role} holds {what}; {_supported()}, or name it with dtype=")
        return own
    if own == dtype or (item_bytes == ITEM_BYTES[dtype] and own in (_RAW, DType.U8)):
        return dtype
    if own == DType.U8:
        return dtype  # Bytes, of which several make an element.
    raise InvalidArgument(f"{role} holds {what}, but dtype={dtype} was given")


def _element_count(nbytes: int, dtype: int, role: str) -> int:
    count, rest = divmod(nbytes, ITEM_BYTES[dtype])
    if rest:
        raise InvalidArgument(f"{role} has {nbytes} bytes, no multiple of {DType(dtype)}'s size")
    return count


def _require_writable(readonly: bool, writable: bool, role: str) -> None:
    if readonly and writable:
        raise InvalidArgument(f"{role} is read-only, but the result is to be written into it")


def _require_contiguous(contiguous: bool, shape: Any, strides: Any, role: str) -> None:
    if not contiguous:
        raise InvalidArgument(
            f"{role} of shape {tuple(shape)} has strides {tuple(strides)}, which are not "
            "contiguous in C order; pass a contiguous buffer"
        )


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...] | None, unit: int) -> bool:
    """Strides count in `unit`s: bytes of an item, or 1 for elements."""
    if strides is None or 0 in shape:
        return True
    expected = unit
    for length, stride in zip(reversed(shape), reversed(strides)):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True


# ---- PyTorch -------------------------------------------------------------------------------------

_torch_types: dict[Any, int] = {}


def _torch_type(dtype: Any, role: str) -> int:
    name = str(dtype).rpartition(".")[2]
    raw = name in ("int16", "uint16")
    found: Optional[int] = _RAW if raw else DTYPE_NAMES.get(name)
    if found is None:
        raise InvalidArgument(f"{role} holds {name}; {_supported()}")
    _torch_types[dtype] = int(found)
    return int(found)


def _from_torch(tensor: Any, dtype: DType | None, writable: bool, role: str) -> Buffer:
    torch = sys.modules["torch"]
    if tensor.layout is not torch.strided:
        raise InvalidArgument(f"{role} is a tensor of layout {tensor.layout}; make it dense")
    if tensor.device.type != "cpu":
        raise Unsupported(f"{role} is a tensor on {tensor.device}; only CPU tensors are supported")
    if not tensor.is_contiguous():
        _require_contiguous(False, tensor.shape, tensor.stride(), role)
    if tensor.is_neg():
        raise InvalidArgument(f"{role} is a lazily negated view; call resolve_neg() on it")
    own = tensor.dtype
    found = _torch_types.get(own)
    if found is None:
        found = _torch_type(own, role)
    if dtype is not None or found == _RAW:
        found = _final_type(found, tensor.element_size(), dtype, str(own), role)
        count = _element_count(tensor.numel() * tensor.element_size(), found, role)
        return Buffer(tensor.data_ptr(), count, found, tensor)
    return Buffer(tensor.data_ptr(), tensor.numel(), found, tensor)


# ---- numpy ---------------------------------------------------------------------------------------

_numpy_types: dict[Any, int] = {}


def _numpy_type(dtype: Any, role: str) -> int:
    if not dtype.isnative:
        raise InvalidArgument(f"{role} holds {dtype} in foreign byte order; convert it first")
    found: Optional[int] = DTYPE_NAMES.get(dtype.name)
    if found is None and (dtype.kind in "ui" and dtype.itemsize == 2 or dtype.kind == "V"):
        found = _RAW
    if found is None:
        raise InvalidArgument(f"{role} holds {dtype}; {_supported()}")
    _numpy_types[dtype] = int(found)
    return int(found)


def _from_numpy(array: Any, dtype: DType | None, writable: bool, role: str) -> Buffer:
    own = array.dtype
    found = _numpy_types.get(own)
    if found is None:
        found = _numpy_type(own, role)
    flags = array.flags
    if not flags.c_contiguous:
        _require_contiguous(False, array.shape, array.strides, role)
    try:
        address = _ffi.writable_address(array)
    except (TypeError, ValueError, BufferError):  # read-only, empty, or a type without a format
        _require_writable(not flags.writeable, writable, role)
        address = array.__array_interface__["data"][0]
    if dtype is not None or found == _RAW:
        found = _final_type(found, own.itemsize, dtype, str(own), role)
        return Buffer(address, _element_count(array.nbytes, found, role), found, array)
    return Buffer(address, array.size, found, array)


# ---- DLPack --------------------------------------------------------------------------------------

_CPU_DEVICES = (1, 3)  # kDLCPU, kDLCUDAHost
# (code, bits) -> type; codes of dlpack.h: int 0, uint 1, float 2, bfloat 4, fp8 from version 1.1
_DLPACK_TYPES: dict[tuple[int, int], int] = {
    (0, 8): DType.I8,
    (0, 32): DType.I32,
    (0, 64): DType.I64,
    (1, 8): DType.U8,
    (1, 16): _RAW,
    (1, 32): DType.U32,
    (1, 64): DType.U64,
    (2, 16): DType.F16,
    (2, 32): DType.F32,
    (2, 64): DType.F64,
    (4, 16): DType.BF16,
    (10, 8): DType.F8E4M3,  # kDLFloat8_e4m3fn
    (12, 8): DType.F8E5M2,  # kDLFloat8_e5m2
}


def _capsule_of(obj: Any) -> object:
    try:
        return obj.__dlpack__(max_version=(_ffi.DLPACK_MAJOR, 0))
    except TypeError:
        return obj.__dlpack__()


def _from_dlpack(obj: Any, dtype: DType | None, writable: bool, role: str) -> Buffer:
    if hasattr(obj, "__dlpack_device__"):
        device = tuple(int(part) for part in obj.__dlpack_device__())
        if device[0] not in _CPU_DEVICES:
            raise Unsupported(f"{role} is on DLPack device {device}; only host memory is supported")
    try:
        capsule = _capsule_of(obj)
    except (BufferError, RuntimeError, ValueError):
        # Some producers cannot express that a buffer is read-only, or its type.
        if hasattr(obj, "__array_interface__"):
            return _from_array_interface(obj, dtype, writable, role)
        raise
    tensor = _ffi.read_dlpack(capsule)
    if tensor.device_type not in _CPU_DEVICES:
        raise Unsupported(
            f"{role} is on DLPack device type {tensor.device_type}, not in host memory"
        )
    what = f"DLPack type {tensor.code} of {tensor.bits} bits and {tensor.lanes} lanes"
    own = _DLPACK_TYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if own is None:
        raise InvalidArgument(f"{role} holds {what}; {_supported()}")
    _require_writable(tensor.readonly, writable, role)
    contiguous = _is_contiguous(tensor.shape, tensor.strides, 1)
    _require_contiguous(contiguous, tensor.shape, tensor.strides, role)
    item_bytes, nbytes = tensor.bits // 8, tensor.bits // 8
    for length in tensor.shape:
        nbytes *= length
    found = _final_type(own, item_bytes, dtype, what, role)
    return Buffer(tensor.address, _element_count(nbytes, found, role), found, (obj, capsule))


# ---- __array_interface__ -------------------------------------------------------------------------


def _interface_type(typestr: str, role: str) -> tuple[int, int]:
    """The type (or _RAW) and item size of a typestr such as "<f4"."""
    order, kind, item_bytes = typestr[0], typestr[1], int(typestr[2:])
    if order == (">" if sys.byteorder == "little" else "<") and item_bytes > 1:
        raise InvalidArgument(f"{role} holds {typestr}, a foreign byte order; convert it first")
    names = {"i": "int", "u": "uint", "f": "float"}
    found: Optional[int] = None
    if kind in names:
        found = DTYPE_NAMES.get(f"{names[kind]}{item_bytes * 8}")
    if found is None and (kind == "V" or (kind in "iu" and item_bytes == 2)):
        found = _RAW
    if found is None:
        raise InvalidArgument(f"{role} holds {typestr}; {_supported()}")
    return int(found), item_bytes


def _from_array_interface(obj: Any, dtype: DType | None, writable: bool, role: str) -> Buffer:
    interface = obj.__array_interface__
    typestr, shape = interface["typestr"], tuple(interface["shape"])
    data = interface.get("data")
    if not isinstance(data, tuple):
        return _from_buffer(
            obj if data is None else data, dtype or _typestr_dtype(typestr, role), writable, role
        )
    own, item_bytes = _interface_type(typestr, role)
    _require_writable(data[1], writable, role)
    strides = interface.get("strides")
    _require_contiguous(_is_contiguous(shape, strides, item_bytes), shape, strides, role)
    nbytes = item_bytes
    for length in shape:
        nbytes *= length
    found = _final_type(own, item_bytes, dtype, typestr, role)
    return Buffer(data[0], _element_count(nbytes, found, role), found, (obj, interface))


def _typestr_dtype(typestr: str, role: str) -> DType:
    """The DType of a typestr that has one."""
    found, _ = _interface_type(typestr, role)
    if found == _RAW:
        raise InvalidArgument(f"{role} holds {typestr}; name its type with dtype=")
    return DType(found)


# ---- buffer protocol -----------------------------------------------------------------------------

_NATIVE = "@=" + ("<" if sys.byteorder == "little" else ">")
_FORMAT_KINDS = {**dict.fromkeys("bhilqn", "int"), **dict.fromkeys("BHILQN", "uint")}
_FORMAT_KINDS |= dict.fromkeys("efd", "float")


def _format_type(view: memoryview, role: str) -> int:
    text = view.format or "B"
    code = text[1:] if text[0] in _NATIVE else text
    if code == "c":
        return DType.U8
    kind = _FORMAT_KINDS.get(code)
    found: Optional[int] = DTYPE_NAMES.get(f"{kind}{view.itemsize * 8}")
    if found is None and kind in ("int", "uint"):
        found = _RAW
    if found is None:
        raise InvalidArgument(f"{role} has items of format {text!r}; {_supported()}")
    return found


def _from_buffer(obj: Any, dtype: DType | None, writable: bool, role: str) -> Buffer:
    view = memoryview(obj)
    own = _format_type(view, role)
    if not view.c_contiguous:
        _require_contiguous(False, view.shape, view.strides, role)
    _require_writable(view.readonly, writable, role)
    found = _final_type(own, view.itemsize, dtype, f"items of format {view.format!r}", role)
    count = _element_count(view.nbytes, found, role)
    # The view pins the memory: a bytearray cannot be resized while it is exported.
    return Buffer(_ffi.view_address(view), count, int(found), view)
