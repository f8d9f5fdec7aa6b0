"""From the arguments of an operation to the call that the C library takes.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from shoal import _ffi
from shoal.buffers import Buffer, DTypeLike, as_dtype, resolve
from shoal.context import milliseconds
from shoal.enums import ITEM_BYTES, OP_NAMES, Collective, DType, Op
from shoal.errors import InvalidArgument
from shoal.ops import UserOp

if TYPE_CHECKING:
    from shoal.comm import Comm

OpLike = Union[Op, str, UserOp]
MaybeDType = Optional[DTypeLike]

# Plain numbers: packing an enumeration's member takes longer.
ALLREDUCE, BROADCAST, REDUCE, REDUCE_SCATTER, ALLGATHER, BARRIER = (int(c) for c in Collective)
_OP_IDS = {name: int(op) for name, op in OP_NAMES.items()}
_NOTHING = Buffer(0, 0, DType.U8, None)

DEFAULT_TIMEOUT = 0xFFFFFFFF  # the communicator's

_pack_call = _ffi.pack_call
_CALL_BYTES = _ffi.CALL_BYTES


class Call(NamedTuple):
    """An operation whose arguments have been checked."""

    collective: int
    op: int
    root: int
    elements: int
    send: Buffer
    recv: Buffer
    user_op: Optional[UserOp]
    result: Any  # what the blocking form returns

    def image(self, timeout: float | None) -> bytes:
        """As C reads it."""
        timeout_ms = DEFAULT_TIMEOUT if timeout is None else milliseconds(timeout, "timeout")
        return _pack_call(
            _CALL_BYTES,
            self.collective,
            self.send.dtype,
            self.op,
            self.root,
            self.elements,
            self.send.address,
            self.recv.address,
            timeout_ms,
        )


def allreduce(comm: Comm, send: Any, recv: Any, op: OpLike, dtype: MaybeDType) -> Call:
    op_id, user_op = find_op(comm, op)
    if recv is None or recv is send:
        both = _one(send, dtype, True, "send")
        return Call(ALLREDUCE, op_id, 0, both.elements, both, both, user_op, send)
    source, target = _pair(comm, send, recv, dtype)
    return Call(ALLREDUCE, op_id, 0, source.elements, source, target, user_op, recv)


def broadcast(comm: Comm, buffer: Any, root: int, send: Any, dtype: MaybeDType) -> Call:
    _check_root(comm, root)
    if send is not None and root == comm.rank:
        source, target = _pair(comm, send, buffer, dtype)
    else:
        source = target = _one(buffer, dtype, root != comm.rank, "buffer")
    return Call(BROADCAST, 0, root, target.elements, source, target, None, buffer)


def reduce(comm: Comm, send: Any, recv: Any, op: OpLike, root: int, dtype: MaybeDType) -> Call:
    op_id, user_op = find_op(comm, op)
    _check_root(comm, root)
    if root != comm.rank:
        source, target, result = _one(send, dtype, False, "send"), _NOTHING, None
    elif recv is None or recv is send:
        source = target = _one(send, dtype, True, "send")
        result = send
    else:
        source, target = _pair(comm, send, recv, dtype)
        result = recv
    return Call(REDUCE, op_id, root, source.elements, source, target, user_op, result)


def reduce_scatter(comm: Comm, send: Any, recv: Any, op: OpLike, dtype: MaybeDType) -> Call:
    op_id, user_op = find_op(comm, op)
    if recv is None:
        source = _one(send, dtype, True, "send")
        target = _own_block(comm, source, "send")
    else:
        source, target = _pair(comm, send, recv, dtype, send_blocks=comm.size)
    result = send if recv is None else recv
    return Call(REDUCE_SCATTER, op_id, 0, target.elements, source, target, user_op, result)


def allgather(comm: Comm, send: Any, recv: Any, dtype: MaybeDType) -> Call:
    if send is None:
        target = _one(recv, dtype, True, "recv")
        source = _own_block(comm, target, "recv")
    else:
        source, target = _pair(comm, send, recv, dtype, recv_blocks=comm.size)
    return Call(ALLGATHER, 0, 0, source.elements, source, target, None, recv)


barrier = Call(BARRIER, 0, 0, 0, _NOTHING, _NOTHING, None, None)


def planned(
    comm: Comm, collective: Collective | str, elements: int, dtype: DTypeLike, op: OpLike, root: int
) -> bytes:
    """The image of a call without buffers."""
    if not isinstance(collective, Collective):
        name = str(collective).upper()
        if name not in Collective.__members__:
            known = " ".join(c.name.lower() for c in Collective)
            raise InvalidArgument(f"collective {collective!r} is unknown; use one of {known}")
        collective = Collective[name]
    _check_root(comm, root)
    if not 0 <= elements < 1 << 64:
        raise InvalidArgument(f"count {elements} is no number of elements")
    op_id = find_op(comm, op)[0]
    return _pack_call(_CALL_BYTES, collective, as_dtype(dtype), op_id, root, elements, 0, 0, 0)


# ---- checks --------------------------------------------------------------------------------------


def find_op(comm: Comm, op: OpLike) -> tuple[int, UserOp | None]:
    if isinstance(op, str):
        found = _OP_IDS.get(op)
        if found is not None:
            return found, None
    elif isinstance(op, UserOp):
        if op.belongs_to(comm):
            return op.id, op
        raise InvalidArgument("the operation was created on another communicator or world")
    elif isinstance(op, Op):
        return int(op), None
    known = " ".join(_OP_IDS)
    raise InvalidArgument(f"op {op!r} is unknown; use one of {known}, or make one with create_op")


def _check_root(comm: Comm, root: int) -> None:
    try:
        if 0 <= index(root) < comm.size:
            return
    except TypeError:
        pass  # it is no whole number
    raise InvalidArgument(f"root {root!r} is no rank below {comm.size}")


def _one(obj: Any, dtype: MaybeDType, writable: bool, role: str) -> Buffer:
    return resolve(obj, None if dtype is None else as_dtype(dtype), writable, role)


def _pair(
    comm: Comm, send: Any, recv: Any, dtype: MaybeDType, send_blocks: int = 1, recv_blocks: int = 1
) -> tuple[Buffer, Buffer]:
    """Two buffers whose blocks have equally many elements of one type."""
    wanted = None if dtype is None else as_dtype(dtype)
    source = resolve(send, wanted, False, "send")
    target = resolve(recv, wanted, True, "recv")
    if source.dtype != target.dtype:
        raise InvalidArgument(
            f"send holds {DType(source.dtype)}, but recv holds {DType(target.dtype)}"
        )
    if source.elements * recv_blocks != target.elements * send_blocks:
        times = max(send_blocks, recv_blocks)
        larger, smaller = ("recv", "send") if recv_blocks > 1 else ("send", "recv")
        rule = f"{larger} must have {times} times as many as {smaller}"
        if times == 1:
            rule = "both must have as many"
        raise InvalidArgument(
            f"send has {source.elements} elements and recv {target.elements}; {rule}"
        )
    return source, target


def _own_block(comm: Comm, whole: Buffer, role: str) -> Buffer:
    """This rank's block of a buffer of all blocks, for operations in place."""
    elements, rest = divmod(whole.elements, comm.size)
    if rest:
        raise InvalidArgument(
            f"{role} has {whole.elements} elements, no multiple of the {comm.size} ranks"
        )
    offset = comm.rank * elements * ITEM_BYTES[whole.dtype]
    return Buffer(whole.address + offset, elements, whole.dtype, whole.pin)
