"""The C library through ctypes: loading it, its signatures, and raw memory.

The only file of the package that uses ctypes. Every function of include/shoal/ stands in FUNCTIONS
with its types; tests/python/headers_test.py compares them, the structures and the constants with
the headers. Functions are loaded by CDLL, which releases the interpreter lock during the call.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import struct
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, NamedTuple

VERSION = "0.1.0"

# ---- structures --------------------------------------------------------------------------------


class ContextOptions(Structure):
    """struct shoal_context_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("config_file", c_char_p),
        ("settings", POINTER(c_char_p)),
        ("setting_count", c_size_t),
    ]


class CommOptions(Structure):
    """struct shoal_comm_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("rank", c_uint32),
        ("size", c_uint32),
        ("rendezvous", c_char_p),
        ("job", c_char_p),
        ("init_timeout_ms", c_uint32),
        ("op_timeout_ms", c_uint32),
    ]


class Call(Structure):
    """struct shoal_call. Calls are made with its image, which pack_call fills faster."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("collective", c_int),
        ("dtype", c_int),
        ("op", c_uint32),
        ("root", c_uint32),
        ("count", c_size_t),
        ("send", c_void_p),
        ("recv", c_void_p),
        ("timeout_ms", c_uint32),
    ]


CALL_BYTES = ctypes.sizeof(Call)
CALL_FORMAT = "@NiiIINPPI4x"
# pack_call(CALL_BYTES, collective, dtype, op, root, count, send, recv, timeout_ms) -> bytes
pack_call = struct.Struct(CALL_FORMAT).pack
CallImage = c_char_p

ReduceFunction = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_size_t, c_int, c_void_p)


class OpOptions(Structure):
    """struct shoal_op_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("function", ReduceFunction),
        ("user", c_void_p),
        ("commutes", c_int),
    ]


class PlanInfo(Structure):
    """struct shoal_plan_info"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("algorithm", c_char_p),
        ("transport", c_char_p),
        ("predicted_us", c_double),
        ("bytes_sent", c_uint64),
        ("bytes_reduced", c_uint64),
    ]


class Span(Structure):
    """struct shoal_span"""

    _fields_ = [("first", c_uint64), ("count", c_uint64), ("rank", c_uint64)]


class Layout(Structure):
    """struct shoal_layout"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int),
        ("first_rank", c_uint32),
        ("ranks", c_uint32),
        ("block", c_uint64),
        ("counts", c_void_p),
        ("spans", POINTER(Span)),
        ("span_count", c_size_t),
    ]


class ReshardCall(Structure):
    """struct shoal_reshard_call"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("count", c_uint64),
        ("dtype", c_int),
        ("timeout_ms", c_uint32),
        ("from", POINTER(Layout)),
        ("to", POINTER(Layout)),
        ("send", c_void_p),
        ("recv", c_void_p),
    ]


class Member(Structure):
    """struct shoal_member"""

    _fields_ = [("id", c_uint64), ("host", c_uint64)]


class PlaceOptions(Structure):
    """struct shoal_place_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("shards", c_uint32),
        ("replicas", c_uint32),
        ("members", POINTER(Member)),
        ("member_count", c_uint32),
    ]


class PlaceResult(Structure):
    """struct shoal_place_result"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("copies", c_uint64),
        ("lost", c_uint64),
        ("owners", c_uint64),
    ]


class SamplesOptions(Structure):
    """struct shoal_samples_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("seed", c_uint64),
        ("samples", c_uint64),
        ("batch", c_uint64),
        ("mode", c_int),
        ("shard_lengths", c_void_p),
        ("shard_count", c_size_t),
    ]


class SamplesView(Structure):
    """struct shoal_samples_view"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("rank", c_uint32),
        ("size", c_uint32),
        ("ahead", c_uint64),
    ]


class SamplesShare(Structure):
    """struct shoal_samples_share"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_uint64),
        ("data_epoch", c_uint64),
        ("count", c_uint64),
        ("total", c_uint64),
    ]


class SamplesInfo(Structure):
    """struct shoal_samples_info"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_uint64),
        ("data_epoch", c_uint64),
        ("samples", c_uint64),
        ("consumed", c_uint64),
        ("skipped", c_uint64),
        ("skipped_spans", c_uint64),
    ]


StoreRead = CFUNCTYPE(c_int, c_void_p, c_uint32, c_void_p, c_size_t, POINTER(c_size_t))
StoreSwap = CFUNCTYPE(
    c_int, c_void_p, c_uint32, c_void_p, c_size_t, c_void_p, c_size_t, POINTER(c_int)
)


class Store(Structure):
    """struct shoal_store"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("arg", c_void_p),
        ("read", StoreRead),
        ("swap", StoreSwap),
    ]


class WorldOptions(Structure):
    """struct shoal_world_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("store", c_char_p),
        ("job", c_char_p),
        ("world_start", c_uint32),
        ("world_min", c_uint32),
        ("world_max", c_uint32),
        ("step_mode", c_int),
        ("partition", c_int),
        ("join_timeout_ms", c_uint32),
        ("recovery_timeout_ms", c_uint32),
        ("op_timeout_ms", c_uint32),
        ("epoch_floor", c_uint64),
        ("custom_store", ctypes.POINTER(Store)),
    ]


class WorldView(Structure):
    """struct shoal_view"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("epoch", c_uint64),
        ("rank", c_uint32),
        ("size", c_uint32),
        ("joined", c_uint32),
        ("lost", c_uint32),
        ("left", c_uint32),
        ("ended", c_uint32),
        ("step", c_uint64),
        ("position", c_uint64),
    ]


class OpInfo(Structure):
    """struct shoal_op_info"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("seq", c_uint64),
        ("epoch", c_uint64),
        ("contributors", c_uint32),
    ]


class WorldStep(Structure):
    """struct shoal_step"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_uint64),
        ("position", c_uint64),
        ("epoch", c_uint64),
        ("rank", c_uint32),
        ("size", c_uint32),
        ("joined", c_uint32),
    ]


class StateOptions(Structure):
    """struct shoal_state_options"""

    _fields_ = [("struct_size", c_size_t)]


class StateArray(Structure):
    """struct shoal_state_array"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("data", c_void_p),
        ("count", c_uint64),
        ("dtype", c_int),
        ("kind", c_int),
    ]


class StateDivergence(Structure):
    """struct shoal_state_divergence"""

    _fields_ = [("name", c_char_p), ("rank", c_uint32)]


class StateInfo(Structure):
    """struct shoal_state_info"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("settled", c_uint64),
        ("bytes_sent", c_uint64),
        ("bytes_received", c_uint64),
        ("settle_ns", c_uint64),
    ]


PLACE_SHARDS_MAX = 1 << 20
PLACE_REPLICAS_MAX = 7
SAMPLES_SPANS_MAX = 1024
SAMPLES_BYTES_MAX = 64 + 16 * SAMPLES_SPANS_MAX

# ---- functions ---------------------------------------------------------------------------------

Context = Comm = Request = World = Samples = State = c_void_p  # opaque handles
FUNCTIONS = {
    # types.h
    "shoal_dtype_bytes": (c_size_t, [c_int]),
    "shoal_dtype_string": (c_char_p, [c_int]),
    "shoal_op_string": (c_char_p, [c_uint32]),
    "shoal_collective_string": (c_char_p, [c_int]),
    # version.h
    "shoal_version": (c_uint32, []),
    "shoal_version_string": (c_char_p, []),
    # status.h
    "shoal_status_string": (c_char_p, [c_int]),
    "shoal_last_error": (c_char_p, []),
    # comm.h
    "shoal_context_create": (c_int, [POINTER(ContextOptions), POINTER(Context)]),
    "shoal_context_destroy": (c_int, [Context]),
    "shoal_comm_create": (c_int, [Context, POINTER(CommOptions), POINTER(Comm)]),
    "shoal_comm_create_from_env": (c_int, [Context, POINTER(Comm)]),
    "shoal_comm_split": (c_int, [Comm, c_uint32, c_int32, POINTER(Comm)]),
    "shoal_comm_destroy": (c_int, [Comm]),
    "shoal_comm_abort": (c_int, [Comm, c_char_p]),
    "shoal_comm_rank": (c_uint32, [Comm]),
    "shoal_comm_size": (c_uint32, [Comm]),
    "shoal_comm_why": (c_int, [Comm, c_char_p, c_size_t]),
    "shoal_mem_alloc": (c_int, [Context, c_size_t, POINTER(c_void_p)]),
    "shoal_mem_free": (c_int, [Context, c_void_p]),
    "shoal_mem_register": (c_int, [Context, c_void_p, c_size_t]),
    "shoal_mem_deregister": (c_int, [Context, c_void_p]),
    # collectives.h
    "shoal_allreduce": (c_int, [Comm, c_void_p, c_void_p, c_size_t, c_int, c_uint32]),
    "shoal_broadcast": (c_int, [Comm, c_void_p, c_void_p, c_size_t, c_int, c_uint32]),
    "shoal_reduce": (c_int, [Comm, c_void_p, c_void_p, c_size_t, c_int, c_uint32, c_uint32]),
    "shoal_reduce_scatter": (c_int, [Comm, c_void_p, c_void_p, c_size_t, c_int, c_uint32]),
    "shoal_allgather": (c_int, [Comm, c_void_p, c_void_p, c_size_t, c_int]),
    "shoal_barrier": (c_int, [Comm]),
    "shoal_start": (c_int, [Comm, CallImage, POINTER(Request)]),
    "shoal_start_wait": (c_int, [Comm, CallImage, c_uint32, POINTER(Request)]),
    "shoal_request_test": (c_int, [Request]),
    "shoal_request_wait": (c_int, [Request, c_uint32]),
    "shoal_request_abort": (c_int, [Request]),
    "shoal_request_destroy": (c_int, [Request]),
    "shoal_op_create": (c_int, [Comm, POINTER(OpOptions), POINTER(c_uint32)]),
    "shoal_plan": (c_int, [Comm, CallImage, POINTER(PlanInfo)]),
    # elastic.h
    "shoal_world_join": (c_int, [Context, POINTER(WorldOptions), POINTER(World)]),
    "shoal_world_destroy": (c_int, [World]),
    "shoal_leave": (c_int, [World, c_uint32]),
    "shoal_world_view": (c_int, [World, POINTER(WorldView)]),
    "shoal_world_epoch": (c_uint64, [World]),
    "shoal_world_members": (c_int, [World, c_void_p, c_uint32, POINTER(c_uint32)]),
    "shoal_world_allreduce": (c_int, [World, c_void_p, c_void_p, c_size_t, c_int, c_uint32]),
    "shoal_world_broadcast": (c_int, [World, c_void_p, c_void_p, c_size_t, c_int, c_uint32]),
    "shoal_world_reduce": (
        c_int,
        [World, c_void_p, c_void_p, c_size_t, c_int, c_uint32, c_uint32],
    ),
    "shoal_world_reduce_scatter": (
        c_int,
        [World, c_void_p, c_void_p, c_size_t, c_int, c_uint32],
    ),
    "shoal_world_allgather": (c_int, [World, c_void_p, c_void_p, c_size_t, c_int]),
    "shoal_world_barrier": (c_int, [World]),
    "shoal_world_mean": (c_int, [World, c_void_p, c_void_p, c_size_t, c_int, c_double]),
    "shoal_world_last": (c_int, [World, POINTER(OpInfo)]),
    "shoal_step_begin": (c_int, [World, POINTER(WorldStep)]),
    "shoal_step_commit": (c_int, [World, c_uint64]),
    "shoal_step_abort": (c_int, [World]),
    "shoal_step_samples": (
        c_int,
        [World, Samples, c_void_p, c_size_t, POINTER(SamplesShare)],
    ),
    "shoal_step_contributors": (c_int, [World, c_void_p, c_uint32, POINTER(c_uint32)]),
    # placement.h
    "shoal_place": (c_int, [POINTER(PlaceOptions), c_void_p, POINTER(PlaceResult)]),
    # reshard.h
    "shoal_layout_count": (
        c_int,
        [POINTER(Layout), c_uint64, c_uint32, c_uint32, POINTER(c_uint64)],
    ),
    "shoal_reshard": (c_int, [Comm, POINTER(ReshardCall)]),
    "shoal_reshard_start": (c_int, [Comm, POINTER(ReshardCall), POINTER(Request)]),
    "shoal_reshard_plan": (c_int, [Comm, POINTER(ReshardCall), POINTER(PlanInfo)]),
    # samples.h
    "shoal_samples_create": (c_int, [POINTER(SamplesOptions), POINTER(Samples)]),
    "shoal_samples_destroy": (None, [Samples]),
    "shoal_samples_assign": (
        c_int,
        [Samples, POINTER(SamplesView), c_void_p, c_size_t, POINTER(SamplesShare)],
    ),
    "shoal_samples_commit": (c_int, [Samples, c_uint32, c_char_p, c_void_p, POINTER(c_size_t)]),
    "shoal_samples_apply": (c_int, [Samples, c_void_p, c_size_t]),
    "shoal_samples_save": (c_int, [Samples, c_void_p, POINTER(c_size_t)]),
    "shoal_samples_restore": (c_int, [Samples, c_void_p, c_size_t]),
    "shoal_samples_info": (c_int, [Samples, POINTER(SamplesInfo)]),
    # state.h
    "shoal_state_create": (c_int, [World, POINTER(StateOptions), POINTER(State)]),
    "shoal_state_destroy": (None, [State]),
    "shoal_state_add": (c_int, [State, POINTER(StateArray)]),
    "shoal_state_verify": (
        c_int,
        [State, POINTER(StateDivergence), c_size_t, POINTER(c_size_t)],
    ),
    "shoal_state_info": (c_int, [State, POINTER(StateInfo)]),
}

# ---- loading -----------------------------------------------------------------------------------

SONAME = "libshoal.so." + VERSION.split(".", maxsplit=1)[0]
_BUILDS = ("build", "build-release", "build-dev")


def candidates(package: pathlib.Path) -> list[str]:
    """Paths where the library may be, in order; the first that exists is loaded."""
    chosen = os.environ.get("SHOAL_LIBRARY")
    if chosen:
        return [chosen]
    paths = [package / SONAME, package / "libshoal.so"]
    source = package.parent.parent
    if (source / "include" / "shoal" / "shoal.h").exists():
        paths += [source / build / "src" / SONAME for build in _BUILDS]
    return [str(path) for path in paths]


def _not_found(tried: list[str]) -> ImportError:
    lines = "".join(f"\n  {line}" for line in tried)
    return ImportError(
        f"shoal: cannot load the C library; tried{lines}\n"
        "Build it with `cmake --preset release && cmake --build --preset release`, or set "
        "SHOAL_LIBRARY to the path of libshoal.so."
    )


def load(package: pathlib.Path) -> ctypes.CDLL:
    """Load the library for the package in this folder and check its version."""
    tried = []
    for path in candidates(package):
        if not os.path.exists(path):
            tried.append(f"{path}: no such file")
            continue
        try:
            return _checked(ctypes.CDLL(path), path)
        except OSError as error:
            raise _not_found([*tried, f"{path}: {error}"]) from None
    if os.environ.get("SHOAL_LIBRARY"):
        raise _not_found([f"{tried[0]} (from SHOAL_LIBRARY)"])
    try:
        return _checked(ctypes.CDLL(SONAME), f"{SONAME} of the system")
    except OSError as error:
        raise _not_found([*tried, f"the system's libraries: {error}"]) from None


def _checked(library: ctypes.CDLL, path: str) -> ctypes.CDLL:
    """While the major version is 0, a minor version may change the ABI."""
    if not hasattr(library, "shoal_version"):
        raise OSError("it has no shoal_version, so it is another library")
    packed = library.shoal_version()
    found = [packed // 1000000, packed // 1000 % 1000]
    if found != [int(part) for part in VERSION.split(".")[:2]]:
        raise ImportError(
            f"shoal: {path} is version {found[0]}.{found[1]}, the Python package is {VERSION}; "
            "install the two from one release"
        )
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


lib = load(pathlib.Path(__file__).resolve().parent)

new_handle = c_void_p
new_u32 = c_uint32
new_u64 = c_uint64
new_size = c_size_t
byref = ctypes.byref
pointer = ctypes.pointer
sizeof = ctypes.sizeof
create_text_buffer = ctypes.create_string_buffer


def span_list(spans: list[tuple[int, int, int]]) -> ctypes.Array[Span]:
    """A C array of struct shoal_span; keep a reference while C uses it."""
    return (Span * len(spans))(*spans)


def member_list(members: list[tuple[int, int]]) -> ctypes.Array[Member]:
    """A C array of struct shoal_member; keep a reference while C uses it."""
    return (Member * len(members))(*members)


def string_list(strings: list[bytes]) -> ctypes.Array[c_char_p]:
    """A C array of strings; keep a reference while C uses it."""
    return (c_char_p * len(strings))(*strings)


# ---- memory ------------------------------------------------------------------------------------

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
