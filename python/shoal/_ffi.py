"""The C library through ctypes: loading it, and the signatures of its functions.

This file and the two that it takes structures and memory from are the only ones of the package that
use ctypes. Every function of include/shoal/ stands in FUNCTIONS with its types;
tests/python/headers_test.py compares them, the structures and the constants with the headers.
Functions are loaded by CDLL, which releases the interpreter lock during the call.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import ctypes
import os
import pathlib
from ctypes import (
    POINTER,
    c_char_p,
    c_double,
    c_int,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)

from shoal._memory import (
    DLPACK_MAJOR,
    DLTensor,
    read_dlpack,
    view_address,
    view_memory,
    writable_address,
)
from shoal._structs import (
    CALL_BYTES,
    CALL_FORMAT,
    PLACE_REPLICAS_MAX,
    PLACE_SHARDS_MAX,
    SAMPLES_BYTES_MAX,
    SAMPLES_SPANS_MAX,
    Call,
    CallImage,
    CommOptions,
    ContextOptions,
    Layout,
    Member,
    OpInfo,
    OpOptions,
    PlaceOptions,
    PlaceResult,
    PlanInfo,
    ReduceFunction,
    ReshardCall,
    SamplesInfo,
    SamplesOptions,
    SamplesShare,
    SamplesView,
    Span,
    StateArray,
    StateDivergence,
    StateInfo,
    StateLoss,
    StateOptions,
    StateRange,
    Store,
    StoreRead,
    StoreSwap,
    WorldOptions,
    WorldStep,
    WorldView,
    pack_call,
)

VERSION = "0.1.0"

# ---- functions ---------------------------------------------------------------------------------

Context = Comm = Request = World = WorldRequest = Samples = State = c_void_p  # opaque handles
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
    "shoal_mem_register_dmabuf": (c_int, [Context, c_void_p, c_size_t, c_int, c_uint64]),
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
    "shoal_world_start": (c_int, [World, CallImage, POINTER(WorldRequest)]),
    "shoal_world_start_mean": (
        c_int,
        [World, c_void_p, c_void_p, c_size_t, c_int, c_double, POINTER(WorldRequest)],
    ),
    "shoal_world_request_test": (c_int, [WorldRequest]),
    "shoal_world_request_wait": (c_int, [WorldRequest, c_uint32]),
    "shoal_world_request_destroy": (c_int, [WorldRequest]),
    "shoal_world_op_create": (c_int, [World, POINTER(OpOptions), POINTER(c_uint32)]),
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
    "shoal_state_owned": (
        c_int,
        [State, c_char_p, POINTER(StateRange), c_size_t, POINTER(c_size_t)],
    ),
    "shoal_state_gather": (c_int, [State, c_char_p]),
    "shoal_state_lost": (c_int, [State, POINTER(StateLoss), c_size_t, POINTER(c_size_t)]),
    "shoal_state_flush": (c_int, [State]),
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
