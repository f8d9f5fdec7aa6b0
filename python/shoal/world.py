"""Elastic worlds: jobs whose workers may fail, leave and join while they run.

    world = shoal.World("10.0.0.1:7777", start=4, least=2)
    samples = world.samples(len(dataset), batch=256, seed=1)
    while samples.data_epoch < 10:
        with world.step() as step:
            if step.joined:  # somebody is new: the lowest rank has the state
                world.broadcast(weights)
            share = samples.take()  # each sample once per data epoch, whoever comes and goes
            compute(weights, grad, share.indices)
            world.mean(grad, weight=len(share.indices))
        if step.committed:
            update(weights, grad)
    world.close()

A failure of another worker is no error: the call that it interrupts returns what the survivors
agreed on. Steps that are given up leave `committed` false and begin again: after a failure, or when
an exception leaves the block of one member. Started by `shoal run --min` or `--join`, shoal.World()
takes all from the environment.

Calls block in C until they end or their deadline passes; Ctrl-C is noticed after that.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import os
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Optional

from shoal import _ffi, calls
from shoal.buffers import DTypeLike
from shoal.calls import OpLike
from shoal.checks import whole
from shoal.context import Context, check, default_context, milliseconds
from shoal.enums import Partition, StepMode
from shoal.errors import EpochChanged, InvalidArgument
from shoal.interrupt import run_interruptibly
from shoal.ops import ReduceFunction, UserOp
from shoal.samples import WorldSamples
from shoal.state import State
from shoal.step import Step
from shoal.world_request import WorldRequest

_MEMBERS_MAX = 1024


class View(NamedTuple):
    """Who is in the world."""

    epoch: int  # rises with each view and is never used again: a fencing token for files
    rank: int
    size: int
    joined: int  # of the members, the last ones, who were not in the view before
    lost: int  # members of the view before that are not in this one
    left: bool  # this membership ended because it was asked to
    ended: bool  # this membership is over
    step: int  # steps committed since the job began
    position: int  # samples consumed by these


class OpInfo(NamedTuple):
    """What the last result was made of."""

    seq: int  # number of the operation in the job's life, the same on every member
    epoch: int  # of the view in which the result was made
    contributors: int  # the divisor of an average


class _Joined:
    """A membership that nobody has yet; it ends when nobody takes it, as after Ctrl-C."""

    def __init__(self, context: Context) -> None:
        self.context = context  # outlives it
        self.handle = _ffi.new_handle()

    def take(self) -> int | None:
        taken, self.handle.value = self.handle.value, None
        return taken

    def __del__(self) -> None:
        if self.handle.value is not None:
            _ffi.lib.shoal_world_destroy(self.handle)


class World:
    """A membership of this process in a job; made by joining it.

    store      "host:port" of the coordinator, or another store; None: SHOAL_JOIN
    start      members that found the job; None: SHOAL_WORLD_START
    least, most   of members; None: SHOAL_WORLD_MIN, SHOAL_WORLD_MAX
    step_mode  what a failure does to a step: StepMode.RETAIN (redone by the survivors) or ABORT
    partition  which part of a world that was cut in two goes on
    join_timeout, recovery_timeout, timeout   seconds; None: the settings'
    epoch_floor   the highest epoch that this worker has ever seen
    catch_up   a worker that comes later gets the arrays of world.state() in its first step, while
               the members go on with theirs, and is let in then; until then it has no rank, size
               or id (InvalidArgument), and view.size is 0
    Raises Absent when too few come or it is not let in in time, StoreError
    Threads    one call at a time; view, epoch, members and leave() any time from any thread
    """

    _handle: int | None = None
    _pins: list[Any] | None = None  # of the step under way
    _open: Step | None = None
    _id: int = 0

    def __init__(
        self,
        store: Optional[str] = None,
        *,
        job: Optional[str] = None,
        start: Optional[int] = None,
        least: Optional[int] = None,
        most: Optional[int] = None,
        step_mode: StepMode = StepMode.RETAIN,
        partition: Partition = Partition.MAJORITY,
        join_timeout: Optional[float] = None,
        recovery_timeout: Optional[float] = None,
        timeout: Optional[float] = None,
        epoch_floor: int = 0,
        catch_up: bool = False,
        context: Optional[Context] = None,
    ) -> None:
        self._context = context or default_context()
        self._started: list[WorldRequest] = []  # that may go on
        self._user_ops: list[UserOp] = []
        self._process = os.getpid()
        options = _ffi.WorldOptions(
            store=None if store is None else store.encode(),
            job=None if job is None else job.encode(),
            world_start=_members(start, "start"),
            world_min=_members(least, "least"),
            world_max=_members(most, "most"),
            step_mode=step_mode,
            partition=partition,
            join_timeout_ms=milliseconds(join_timeout, "join_timeout"),
            recovery_timeout_ms=milliseconds(recovery_timeout, "recovery_timeout"),
            op_timeout_ms=milliseconds(timeout, "timeout"),
            epoch_floor=epoch_floor,
            catch_up=int(catch_up),
        )
        context_held = self._context

        def join() -> _Joined:
            joined = _Joined(context_held)
            status = _ffi.lib.shoal_world_join(
                context_held.handle, _ffi.byref(options), _ffi.byref(joined.handle)
            )
            check(status)
            return joined

        self._handle = run_interruptibly(join).take()

    # ---- views ---------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The view in force, which may change again any time."""
        view = _ffi.WorldView()
        check(_ffi.lib.shoal_world_view(self.handle, _ffi.byref(view)))
        return View(
            view.epoch,
            view.rank,
            view.size,
            view.joined,
            view.lost,
            bool(view.left),
            bool(view.ended),
            view.step,
            view.position,
        )

    @property
    def epoch(self) -> int:
        """Of the view in force; 0 when the membership is over. Cheap enough to poll."""
        return int(_ffi.lib.shoal_world_epoch(self.handle))

    def _member_view(self) -> View:
        view = self.view
        if view.size == 0 and view.ended:
            raise EpochChanged("the membership was over before this worker was let in")
        if view.size == 0:
            raise InvalidArgument(
                "this worker is not let in yet, so it has no rank, size or id: with catch_up=True "
                "its first step has it let in, and so does barrier(); until then view.size is 0"
            )
        return view

    @property
    def rank(self) -> int:
        """This member's, in the view in force. Raises InvalidArgument before it is let in."""
        return self._member_view().rank

    @property
    def size(self) -> int:
        """Number of members of the view in force. Raises what `rank` does."""
        return self._member_view().size

    @property
    def members(self) -> list[int]:
        """Ids by rank: 64 random bits a membership."""
        ids, count = (_ffi.c_uint64 * _MEMBERS_MAX)(), _ffi.c_uint32()
        status = _ffi.lib.shoal_world_members(self.handle, ids, _MEMBERS_MAX, _ffi.byref(count))
        check(status)
        return list(ids[: count.value])

    @property
    def id(self) -> int:
        """Of this membership, as in `members`. Raises what `rank` does."""
        while self._id == 0:
            view, members = self._member_view(), self.members
            if self.view.epoch == view.epoch:
                self._id = members[view.rank]
        return self._id

    # ---- operations ----------------------------------------------------------------------------

    def allreduce(
        self, send: Any, recv: Any = None, op: OpLike = "sum", *, dtype: Optional[DTypeLike] = None
    ) -> Any:
        """Combine every member's `send` in `recv`, or in place, and return it."""
        return self._reduced("shoal_world_allreduce", calls.allreduce(self, send, recv, op, dtype))

    def broadcast(
        self, buffer: Any, root: int = 0, *, dtype: Optional[DTypeLike] = None
    ) -> Any:
        """Copy `buffer` of member `root` into everybody's, and return it.

        Raises EpochChanged when root was lost; the world goes on unless its view has ended
        """
        call = calls.broadcast(self, buffer, root, None, dtype)
        return self._run("shoal_world_broadcast", call, call.send.dtype, root)

    def reduce(
        self,
        send: Any,
        recv: Any = None,
        op: OpLike = "sum",
        root: int = 0,
        *,
        dtype: Optional[DTypeLike] = None,
    ) -> Any:
        """Combine every member's `send` into `recv` of member `root`, which returns it."""
        call = calls.reduce(self, send, recv, op, root, dtype)
        return self._run("shoal_world_reduce", call, call.send.dtype, call.op, root)

    def reduce_scatter(
        self, send: Any, recv: Any = None, op: OpLike = "sum", *, dtype: Optional[DTypeLike] = None
    ) -> Any:
        """As Comm.reduce_scatter. Raises EpochChanged when members change before it is done, and
        in a step StepRetry: its blocks are those of the view."""
        call = calls.reduce_scatter(self, send, recv, op, dtype)
        return self._reduced("shoal_world_reduce_scatter", call)

    def allgather(self, send: Any, recv: Any, *, dtype: Optional[DTypeLike] = None) -> Any:
        """As Comm.allgather; raises what reduce_scatter does."""
        call = calls.allgather(self, send, recv, dtype)
        return self._run("shoal_world_allgather", call, call.send.dtype)

    def barrier(self) -> None:
        """Return after every member has called it."""
        check(_ffi.lib.shoal_world_barrier(self.handle))

    def mean(
        self, send: Any, recv: Any = None, *, weight: float, dtype: Optional[DTypeLike] = None
    ) -> Any:
        """The weighted mean of every member's `send` in `recv`, or in place: for members with
        unequal numbers of samples. For f32 and f64."""
        call = calls.allreduce(self, send, recv, "sum", dtype)
        return self._run("shoal_world_mean", call, call.send.dtype, weight)

    def allreduce_async(
        self, send: Any, recv: Any = None, op: OpLike = "sum", *, dtype: Optional[DTypeLike] = None
    ) -> WorldRequest:
        """Begin an allreduce and return at once. In a step the buffers belong to the world until
        the block has ended; what was not waited for ends there."""
        return self._start(calls.allreduce(self, send, recv, op, dtype))

    def mean_async(
        self, send: Any, recv: Any = None, *, weight: float, dtype: Optional[DTypeLike] = None
    ) -> WorldRequest:
        """Begin a weighted mean and return at once."""
        call = calls.allreduce(self, send, recv, "sum", dtype)
        start = _ffi.lib.shoal_world_start_mean
        send, recv, count = call.send.address, call.recv.address, call.elements
        return self._begin(
            call, lambda out: start(self.handle, send, recv, count, call.send.dtype, weight, out)
        )

    def broadcast_async(
        self, buffer: Any, root: int = 0, *, dtype: Optional[DTypeLike] = None
    ) -> WorldRequest:
        """Begin a broadcast; this and the next three only in a step, else Unsupported."""
        return self._start(calls.broadcast(self, buffer, root, None, dtype))

    def reduce_async(
        self,
        send: Any,
        recv: Any = None,
        op: OpLike = "sum",
        root: int = 0,
        *,
        dtype: Optional[DTypeLike] = None,
    ) -> WorldRequest:
        """Begin a reduce, in a step, and return at once."""
        return self._start(calls.reduce(self, send, recv, op, root, dtype))

    def reduce_scatter_async(
        self, send: Any, recv: Any = None, op: OpLike = "sum", *, dtype: Optional[DTypeLike] = None
    ) -> WorldRequest:
        """Begin a reduce_scatter, in a step, and return at once."""
        return self._start(calls.reduce_scatter(self, send, recv, op, dtype))

    def allgather_async(
        self, send: Any, recv: Any, *, dtype: Optional[DTypeLike] = None
    ) -> WorldRequest:
        """Begin an allgather, in a step, and return at once."""
        return self._start(calls.allgather(self, send, recv, dtype))

    def barrier_async(self) -> WorldRequest:
        """Begin a barrier and return at once."""
        return self._start(calls.barrier)

    def create_op(self, function: ReduceFunction, commutes: bool = True) -> UserOp:
        """Make function(a, b, out, dtype) a reduction, as Comm.create_op, for all views. Every
        member creates its own, in one order, a new one before its first operation."""
        op = UserOp(self, function, commutes, _ffi.lib.shoal_world_op_create)
        self._user_ops.append(op)
        return op

    def _start(self, call: calls.Call) -> WorldRequest:
        start, image = _ffi.lib.shoal_world_start, call.image(None)
        return self._begin(call, lambda out: start(self.handle, image, out))

    def _begin(self, call: calls.Call, begin: Callable[[Any], int]) -> WorldRequest:
        pins = (call.send.pin, call.recv.pin)
        self._started = [request for request in self._started if not request.settle()]
        request = WorldRequest(begin, pins, call.user_op, call.result)
        self._started.append(request)
        if self._pins is not None:
            self._pins += pins
        return request

    def _reduced(self, name: str, call: calls.Call) -> Any:
        return self._run(name, call, call.send.dtype, call.op)

    def _run(self, name: str, call: calls.Call, *rest: Any) -> Any:
        if self._pins is not None:
            self._pins += (call.send.pin, call.recv.pin)
        function = getattr(_ffi.lib, name)
        send, recv = call.send.address, call.recv.address
        check(function(self.handle, send, recv, call.elements, *rest))
        error = None if call.user_op is None else call.user_op.take_error()
        if error is not None:
            raise error
        return call.result

    @property
    def last(self) -> OpInfo:
        """What the last operation's result was made of."""
        info = _ffi.OpInfo()
        check(_ffi.lib.shoal_world_last(self.handle, _ffi.byref(info)))
        return OpInfo(info.seq, info.epoch, info.contributors)

    # ---- steps ---------------------------------------------------------------------------------

    def step(self) -> Step:
        """The next step, for a `with` statement. Its operations have one set of contributors and
        count once it is committed; in StepMode.RETAIN do not touch their buffers before."""
        return Step(self)

    def state(
        self,
        arrays: Optional[Mapping[str, Any]] = None,
        *,
        shards: int = 0,
        replicas: int = 1,
        background: bool = False,
        catch_up_bytes: int = 0,
    ) -> State:
        """State that follows the members, one at a time, with these replicated arrays; see
        shoal.State."""
        return State(self, arrays or {}, shards, replicas, background, catch_up_bytes)

    def samples(
        self,
        samples: int = 0,
        *,
        batch: int,
        seed: int = 0,
        per_rank: bool = False,
        shard_lengths: Optional[Iterable[int]] = None,
        resume: Optional[bytes] = None,
    ) -> WorldSamples:
        """A stream of samples that follows this world's steps: each sample once per data epoch,
        whoever joins, fails or leaves. All members make it alike; arguments as of Samples.

        resume  where a checkpoint was: what save() gave, on all founders of the job; whoever joins
                later gets the others' position
        """
        stream = WorldSamples(
            self, samples, batch=batch, seed=seed, per_rank=per_rank, shard_lengths=shard_lengths
        )
        if resume is not None:
            stream.restore(resume)
        return stream

    def note_samples(self, stream: object, count: int) -> None:
        """A stream takes part in the open step."""
        if self._open is not None and self._pins is not None:
            if id(stream) not in self._open._streams:
                self._pins.append(stream)
                self._open._streams.add(id(stream))
                self._open.samples += count

    @property
    def contributors(self) -> list[int]:
        """Ids of the members by which the last step was committed."""
        ids, count = (_ffi.c_uint64 * _MEMBERS_MAX)(), _ffi.c_uint32()
        check(
            _ffi.lib.shoal_step_contributors(self.handle, ids, _MEMBERS_MAX, _ffi.byref(count))
        )
        return list(ids[: count.value])

    def leave(self, deadline: Optional[float] = None) -> None:
        """Ask to leave, as on SIGTERM. Go on with steps: where one ends, a call raises EpochChanged
        and the view says `left`. The others do not take it for a failure.

        deadline  seconds, after which a call gives up waiting with Timeout; None: none
        """
        check(_ffi.lib.shoal_leave(self.handle, milliseconds(deadline, "deadline")))

    # ---- the world itself ----------------------------------------------------------------------

    @property
    def handle(self) -> int:
        """The C handle; InvalidArgument after close()."""
        if self._handle is None:
            raise InvalidArgument("the world is closed")
        return self._handle

    def close(self) -> None:
        """End this membership; twice is fine. The others take it for a loss, and at once, unless
        leave() was asked for and done."""
        if self._handle is not None:
            check(_ffi.lib.shoal_world_destroy(self._handle))
            self._handle = None
            self._pins = None
            self._started = [request for request in self._started if not request.settle()]

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._handle is None:
            return "<shoal.World, closed>"
        view = self.view
        return f"<shoal.World epoch {view.epoch}, rank {view.rank} of {view.size}>"

    def __del__(self) -> None:
        if self._handle is not None and self._process == os.getpid():
            _ffi.lib.shoal_world_destroy(self._handle)


def _members(number: Optional[int], what: str) -> int:
    return 0 if number is None else whole(number, what, _MEMBERS_MAX, least=1)
