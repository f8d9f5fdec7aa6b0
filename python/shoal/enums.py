"""Element types, reduction operations, collectives and status codes, as include/shoal/ has them.

Values are those of the C enumerations; tests/python/headers_test.py compares them.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import enum


class DType(enum.IntEnum):
    """An element type (enum shoal_dtype)."""

    I8 = 0
    U8 = 1
    I32 = 2
    U32 = 3
    I64 = 4
    U64 = 5
    F16 = 6
    BF16 = 7
    F32 = 8
    F64 = 9
    F8E4M3 = 10
    F8E5M2 = 11

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return ITEM_BYTES[self]

    def __str__(self) -> str:
        return self.name.lower()


class Op(enum.IntEnum):
    """A reduction (enum shoal_op). Comm.create_op makes others."""

    SUM = 0
    PROD = 1
    MIN = 2
    MAX = 3
    AVG = 4


class Collective(enum.IntEnum):
    """An operation (enum shoal_collective)."""

    ALLREDUCE = 0
    BROADCAST = 1
    REDUCE = 2
    REDUCE_SCATTER = 3
    ALLGATHER = 4
    BARRIER = 5


class BatchMode(enum.IntEnum):
    """What the batch of a stream of samples counts (enum shoal_batch_mode)."""

    GLOBAL = 0
    PER_RANK = 1


class LayoutKind(enum.IntEnum):
    """How a layout is described (enum shoal_layout_kind)."""

    BLOCK = 0
    BLOCKS = 1
    CYCLIC = 2
    SPANS = 3


class StepMode(enum.IntEnum):
    """What a failure inside of a step does to it (enum shoal_step_mode)."""

    RETAIN = 1
    ABORT = 2


class Partition(enum.IntEnum):
    """Which part of a world that was cut in two goes on (enum shoal_partition)."""

    MAJORITY = 1
    ANY = 2


class StateKind(enum.IntEnum):
    """Who has what of an array of a world's state (enum shoal_state_kind)."""

    REPLICATED = 1
    SHARDED = 2


class Status(enum.IntEnum):
    """A status code (enum shoal_status)."""

    OK = 0
    IN_PROGRESS = 1
    INVALID = -1
    UNSUPPORTED = -2
    BUSY = -3
    FORKED = -4
    CONFIG = -5
    MISMATCH = -20
    TIMEOUT = -21
    ABORTED = -22
    PEER = -40
    AUTH = -41
    VERSION = -42
    ABSENT = -43
    EPOCH = -60
    STORE = -61
    STEP_RETRY = -62
    STATE_LOST = -63
    NOMEM = -80
    SYSTEM = -81
    INTERNAL = -82


ITEM_BYTES = (1, 1, 4, 4, 8, 8, 2, 2, 4, 8, 1, 1)

# Ids of user-defined operations begin here; color of ranks that a split leaves out.
OP_USER_FIRST = 64
COLOR_NONE = 0xFFFFFFFF

# What numpy, PyTorch, JAX and ml_dtypes call the same types.
FOREIGN_NAMES = {
    "int8": DType.I8,
    "uint8": DType.U8,
    "int32": DType.I32,
    "uint32": DType.U32,
    "int64": DType.I64,
    "uint64": DType.U64,
    "float16": DType.F16,
    "bfloat16": DType.BF16,
    "float32": DType.F32,
    "float64": DType.F64,
    "float8_e4m3fn": DType.F8E4M3,
    "float8_e5m2": DType.F8E5M2,
}
DTYPE_NAMES = {**FOREIGN_NAMES, **{str(dtype): dtype for dtype in DType}}
OP_NAMES = {op.name.lower(): op for op in Op}
