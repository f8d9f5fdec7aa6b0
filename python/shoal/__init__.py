"""Shoal: collective communication for distributed training.

    import numpy, shoal

    comm = shoal.init()
    values = numpy.full(4, comm.rank, dtype="float32")
    comm.allreduce(values)

Start it with `shoal run -n 4 -- python program.py`. numpy arrays, PyTorch CPU tensors, and whatever
has DLPack, __array_interface__ or the buffer protocol are used where they lie.

SPDX-License-Identifier: Apache-2.0
"""

import atexit

from shoal import _ffi
from shoal.comm import Comm, Plan, close_all
from shoal.context import Context
from shoal.enums import Collective, DType, Op, Partition, Status, StepMode
from shoal.errors import (
    Aborted,
    Absent,
    AuthError,
    Busy,
    CallError,
    ConfigError,
    EpochChanged,
    EpochError,
    Forked,
    InternalError,
    InvalidArgument,
    Mismatch,
    NoMemory,
    PeerError,
    PeerLost,
    ProcessError,
    RequestError,
    ShoalError,
    StateLost,
    StepRetry,
    StoreError,
    SystemFailure,
    Timeout,
    Unsupported,
    VersionError,
)
from shoal.launch import init
from shoal.memory import Array, Registration, empty, register
from shoal.ops import UserOp
from shoal.placement import Placement, place
from shoal.request import Request
from shoal.reshard import Layout
from shoal.samples import Samples, Share, WorldSamples
from shoal.state import Divergence, Loss, State, StateInfo
from shoal.step import Step
from shoal.world import OpInfo, View, World
from shoal.world_request import WorldRequest

__version__ = _ffi.VERSION

__all__ = [
    "Aborted",
    "Absent",
    "Array",
    "AuthError",
    "Busy",
    "CallError",
    "Collective",
    "Comm",
    "ConfigError",
    "Context",
    "DType",
    "Divergence",
    "EpochChanged",
    "EpochError",
    "Forked",
    "InternalError",
    "InvalidArgument",
    "Layout",
    "Loss",
    "Mismatch",
    "NoMemory",
    "Op",
    "OpInfo",
    "Partition",
    "PeerError",
    "PeerLost",
    "Placement",
    "Plan",
    "ProcessError",
    "Registration",
    "Request",
    "RequestError",
    "Samples",
    "Share",
    "ShoalError",
    "State",
    "StateInfo",
    "StateLost",
    "Status",
    "Step",
    "StepMode",
    "StepRetry",
    "StoreError",
    "SystemFailure",
    "Timeout",
    "Unsupported",
    "UserOp",
    "VersionError",
    "View",
    "World",
    "WorldRequest",
    "WorldSamples",
    "empty",
    "init",
    "library_version",
    "place",
    "register",
]


def library_version() -> str:
    """Version of the C library that was loaded."""
    return str(_ffi.lib.shoal_version_string().decode())


atexit.register(close_all)
