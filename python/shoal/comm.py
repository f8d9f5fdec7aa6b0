"""Communicators and their operations.

Every rank calls the same operations in the same order with the same count, dtype, op and root; a
difference raises Mismatch on every rank. Buffers are never copied: see buffers.py for what is
accepted. A blocking operation that takes long returns to Python now and then, so that signal
handlers run: Ctrl-C gives the operation up on every rank and raises KeyboardInterrupt.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import collections
import contextlib
import os
import time
import weakref
from typing import Any, NamedTuple, Optional, Union

from shoal import _ffi, calls, reshard
from shoal.buffers import DTypeLike
from shoal.calls import OpLike
from shoal.context import Context, check, last_error
from shoal.enums import COLOR_NONE, Collective, DType
from shoal.errors import Busy, InvalidArgument, ShoalError
from shoal.interrupt import run_interruptibly
from shoal.ops import ReduceFunction, UserOp
from shoal.pending import SLICE_MS
from shoal.request import Request
from shoal.reshard import Layout

_WHY_BYTES = 1024
# How long close() waits for other threads to leave; giving operations up takes less.
_CLOSE_SECONDS = 10.0

_start_wait = _ffi.lib.shoal_start_wait
_request_wait = _ffi.lib.shoal_request_wait


class Plan(NamedTuple):
    """How an operation would be carried out."""

    algorithm: str
    transport: str
    predicted_us: float  # 0: unknown
    bytes_sent: int  # by this rank
    bytes_reduced: int  # by this rank


class Comm:
    """An ordered set of ranks that call operations together; shoal.init() and split() make them.

    May be used from several threads, as long as the order of calls is the same on every rank.
    """

    _handle: int | None = None

    def __init__(self, handle: int, context: Context) -> None:
        """For shoal.init() and split(): takes over a C handle."""
        self._handle = handle
        self._context = context
        self._process = os.getpid()
        self._requests: weakref.WeakSet[Request] = weakref.WeakSet()
        self._user_ops: list[UserOp] = []
        # One entry for each call that is inside C with the handle; a deque, since its append and
        # pop are atomic.
        self._calls: collections.deque[None] = collections.deque()
        self.rank: int = _ffi.lib.shoal_comm_rank(handle)
        self.size: int = _ffi.lib.shoal_comm_size(handle)
        open_comms.add(self)

    # ---- operations ----------------------------------------------------------------------------

    def allreduce(
        self,
        send: Any,
        recv: Any = None,
        op: OpLike = "sum",
        *,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Combine every rank's `send`; every rank gets the result in `recv`, which is returned.

        recv     as large as send; None: in place
        dtype    names the element type of buffers that cannot say it, such as bf16 as bytes
        timeout  seconds; None: the communicator's, see SHOAL_TIMEOUT_MS
        """
        return self._run(calls.allreduce(self, send, recv, op, dtype), timeout)

    def broadcast(
        self,
        buffer: Any,
        root: int = 0,
        *,
        send: Any = None,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Copy `buffer` of rank `root` into `buffer` of every rank, and return it.

        send  on root: what to copy, also into its own buffer; None: buffer itself
        """
        return self._run(calls.broadcast(self, buffer, root, send, dtype), timeout)

    def reduce(
        self,
        send: Any,
        recv: Any = None,
        op: OpLike = "sum",
        root: int = 0,
        *,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Combine every rank's `send` into `recv` of rank `root`; other ranks' recv is not used.

        recv  None on root: in place
        Returns the result on root, None elsewhere.
        """
        return self._run(calls.reduce(self, send, recv, op, root, dtype), timeout)

    def reduce_scatter(
        self,
        send: Any,
        recv: Any = None,
        op: OpLike = "sum",
        *,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Combine every rank's `send` and cut the result into `size` blocks: rank r gets block r.

        recv  a block; None: in place, at this rank's block of send
        """
        return self._run(calls.reduce_scatter(self, send, recv, op, dtype), timeout)

    def allgather(
        self,
        send: Any,
        recv: Any,
        *,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Concatenate every rank's `send` in rank order into `recv`, which is returned.

        send  None: in place, at this rank's block of recv
        """
        return self._run(calls.allgather(self, send, recv, dtype), timeout)

    def barrier(self, *, timeout: Optional[float] = None) -> None:
        """Return after every rank has called it."""
        self._run(calls.barrier, timeout)

    def allreduce_async(
        self,
        send: Any,
        recv: Any = None,
        op: OpLike = "sum",
        *,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Request:
        """Begin an allreduce and return at once."""
        return self._start(calls.allreduce(self, send, recv, op, dtype), timeout)

    def broadcast_async(
        self,
        buffer: Any,
        root: int = 0,
        *,
        send: Any = None,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Request:
        """Begin a broadcast and return at once."""
        return self._start(calls.broadcast(self, buffer, root, send, dtype), timeout)

    def reduce_async(
        self,
        send: Any,
        recv: Any = None,
        op: OpLike = "sum",
        root: int = 0,
        *,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Request:
        """Begin a reduce and return at once."""
        return self._start(calls.reduce(self, send, recv, op, root, dtype), timeout)

    def reduce_scatter_async(
        self,
        send: Any,
        recv: Any = None,
        op: OpLike = "sum",
        *,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Request:
        """Begin a reduce_scatter and return at once."""
        return self._start(calls.reduce_scatter(self, send, recv, op, dtype), timeout)

    def allgather_async(
        self,
        send: Any,
        recv: Any,
        *,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Request:
        """Begin an allgather and return at once."""
        return self._start(calls.allgather(self, send, recv, dtype), timeout)

    def barrier_async(self, *, timeout: Optional[float] = None) -> Request:
        """Begin a barrier and return at once."""
        return self._start(calls.barrier, timeout)

    def reshard(
        self,
        send: Any,
        recv: Any,
        count: int,
        source: Layout,
        target: Layout,
        *,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Move an array of `count` elements from one layout to another; every rank calls it.

        send   this rank's elements in `source`; None when it has none
        recv   receives its elements in `target`, and is returned; None when it has none
        dtype  needed where both are None
        """
        request = self.reshard_async(
            send, recv, count, source, target, dtype=dtype, timeout=timeout
        )
        request.wait()
        return recv

    def reshard_async(
        self,
        send: Any,
        recv: Any,
        count: int,
        source: Layout,
        target: Layout,
        *,
        dtype: Optional[DTypeLike] = None,
        timeout: Optional[float] = None,
    ) -> Request:
        """Begin a reshard and return at once."""
        call = reshard.make_call(self, (send, recv), count, (source, target), dtype, timeout)
        start = _ffi.lib.shoal_reshard_start
        request = Request(self, _ffi.byref(call.image), call.pins, None, recv, start)
        self._requests.add(request)
        return request

    def reshard_bytes(
        self, count: int, source: Layout, target: Layout, dtype: DTypeLike = DType.F32
    ) -> int:
        """What this rank would send in a reshard; nothing is sent."""
        call = reshard.make_call(self, (None, None), count, (source, target), dtype, None, False)
        info = _ffi.PlanInfo()
        check(
            _ffi.lib.shoal_reshard_plan(self.handle, _ffi.byref(call.image), _ffi.byref(info))
        )
        return int(info.bytes_sent)

    # ---- carrying out --------------------------------------------------------------------------

    @property
    def handle(self) -> int:
        """The C handle; InvalidArgument after close()."""
        if self._handle is None:
            raise InvalidArgument("the communicator is closed")
        return self._handle

    def _run(self, call: calls.Call, timeout: Optional[float]) -> Any:
        image = call.image(timeout)
        request = _ffi.new_handle()
        try:
            self._calls.append(None)
            # Fast operations end in this one call. `call` keeps the buffers meanwhile.
            status = _start_wait(self.handle, image, SLICE_MS, _ffi.byref(request))
            while status == 1:
                status = _request_wait(request, SLICE_MS)
            if status < 0:
                raise last_error(status)
        finally:
            # Unfinished only when a signal handler raised: then this aborts it on every rank.
            if request.value is not None:
                _ffi.lib.shoal_request_destroy(request)
            self._calls.pop()
        if call.user_op is not None:
            error = call.user_op.take_error()
            if error is not None:
                raise error
        return call.result

    def _start(self, call: calls.Call, timeout: Optional[float]) -> Request:
        pins = (call.send.pin, call.recv.pin)
        request = Request(self, call.image(timeout), pins, call.user_op, call.result)
        self._requests.add(request)
        return request

    # ---- the communicator itself ---------------------------------------------------------------

    def create_op(self, function: ReduceFunction, commutes: bool = True) -> UserOp:
        """Make function(a, b, out, dtype) a reduction. Every rank creates its own, in one order.

        function  stores a[i] op b[i] in out[i] for all elements; a belongs to lower ranks than b,
                  out may be one of them. They are memoryviews, valid during the call, which
                  numpy.asarray takes; f16, bf16 and fp8 show as unsigned integers.
                  It runs in whichever thread makes progress and must not call Shoal. What it
                  raises is raised from the operation on this rank; results are then undefined.
        commutes  False: operands are combined strictly in rank order
        """
        op = UserOp(self, function, commutes)
        self._user_ops.append(op)
        return op

    def split(self, color: Optional[int], key: int = 0) -> Optional[Comm]:
        """Partition by color; ranks of the child order by (key, rank). Every rank calls it.

        color  None: take part, and get None
        """
        if color is not None and not 0 <= color < COLOR_NONE:
            raise InvalidArgument(
                f"color {color} is not between 0 and {COLOR_NONE - 1}; None means "
                "no part in any child"
            )
        number = COLOR_NONE if color is None else color

        def split() -> Optional[Comm]:
            child = _ffi.new_handle()
            try:
                self._calls.append(None)
                check(_ffi.lib.shoal_comm_split(self.handle, number, key, _ffi.byref(child)))
            finally:
                self._calls.pop()
            return None if child.value is None else Comm(child.value, self._context)

        return run_interruptibly(split)

    def abort(self, reason: str = "") -> None:
        """Fail every outstanding operation on every rank with Aborted and this reason. May be
        called while other threads wait; the communicator stays usable."""
        check(_ffi.lib.shoal_comm_abort(self.handle, reason.encode() or None))

    def why(self) -> str:
        """One line on what the oldest outstanding operation waits for. May be called while other
        threads wait."""
        text = _ffi.create_text_buffer(_WHY_BYTES)
        check(_ffi.lib.shoal_comm_why(self.handle, text, _WHY_BYTES))
        return text.value.decode("utf-8", "replace")

    def plan(
        self,
        collective: Union[Collective, str],
        count: int,
        *,
        dtype: DTypeLike = DType.F32,
        op: OpLike = "sum",
        root: int = 0,
    ) -> Plan:
        """How an operation on ordinary memory would be carried out. Every rank gets the same
        algorithm for the same arguments; nothing is sent."""
        image = calls.planned(self, collective, count, dtype, op, root)
        info = _ffi.PlanInfo()
        check(_ffi.lib.shoal_plan(self.handle, image, _ffi.byref(info)))
        return Plan(
            info.algorithm.decode(),
            info.transport.decode(),
            info.predicted_us,
            info.bytes_sent,
            info.bytes_reduced,
        )

    def close(self) -> None:
        """Leave it; twice is fine. Unfinished requests are aborted, also those that other threads
        wait for. Never blocks on a dead peer."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        try:
            self._empty(handle)
            requests = list(self._requests)
            for request in requests:
                request._detach()
            check(_ffi.lib.shoal_comm_destroy(handle))
        except BaseException:
            self._handle = handle
            raise
        for request in requests:
            request._abandon()
        open_comms.discard(self)

    def _empty(self, handle: int) -> None:
        """Let other threads leave their calls; new ones find the communicator closed."""
        end = time.monotonic() + _CLOSE_SECONDS
        while self._calls:
            check(_ffi.lib.shoal_comm_abort(handle, b"the communicator is being closed"))
            if time.monotonic() > end:
                raise Busy(f"{len(self._calls)} calls of other threads are still in progress")
            time.sleep(0.001)

    def __enter__(self) -> Comm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._handle is None else "open"
        return f"<shoal.Comm rank {self.rank} of {self.size}, {state}>"

    def __del__(self) -> None:
        # Requests refer to their communicator, so none is left. Of a parent's, in a forked child,
        # nothing may be touched.
        if self._handle is not None and self._process == os.getpid():
            _ffi.lib.shoal_comm_destroy(self._handle)


open_comms: weakref.WeakSet[Comm] = weakref.WeakSet()


def close_all() -> None:
    """At exit, while the interpreter is whole: afterwards no callback of ours can run."""
    for comm in list(open_comms):
        with contextlib.suppress(ShoalError):
            comm.close()
