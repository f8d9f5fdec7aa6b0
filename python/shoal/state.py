"""State that follows the members of a world: arrays, registered once by name.

    state = world.state({"weights": weights})
    state.add("momentum", momentum)
    while world.view.step < steps:
        with world.step() as step:  # whoever is new has them from here on
            ...
    for name, rank in state.verify():
        print(f"{name} of rank {rank} is not like that of the others")

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Optional

from shoal import _ffi
from shoal.buffers import DTypeLike, as_dtype, resolve
from shoal.checks import whole
from shoal.context import check
from shoal.enums import StateKind
from shoal.errors import InvalidArgument

if TYPE_CHECKING:
    from shoal.world import World


_NO_REPLICAS = 0xFFFFFFFF


class Divergence(NamedTuple):
    """An array of one member that is not like that of most."""

    name: str
    rank: int


class Loss(NamedTuple):
    """Elements of a sharded array of which no copy is left."""

    name: str
    elements: slice


class StateInfo(NamedTuple):
    """What was done so far."""

    settled: int  # how often state was brought to the members of a new view
    bytes_sent: int  # of state, by this member, the last time
    bytes_received: int  # likewise
    bytes_moved: int  # of sharded arrays, by all members together, the last time
    settle_seconds: float  # what that took, with waiting for the others
    refresh_bytes: int  # sent by this member to copies at the last commit
    refresh_seconds: float  # what that added to the commit
    bytes_handed: int  # of sharded arrays, by all members together, before members left
    bad_chunks: int  # that were not what their giver hashed, and were taken from another
    bad_giver: int  # rank of the last one that gave one
    keep_seconds: float  # to copy, at the last commit, what this member owns
    step_seconds: float  # the last step, to the end of its commit
    caught_up_bytes: int  # that came here before this member was let in
    catch_up_seconds: float  # what that took
    given_bytes: int  # by this member to joiners before they were let in
    given_steps: int  # of this member, that began while there was something to give


class State:
    """Named arrays of a world; made by World.state().

    Every member makes it between the same operations and adds the same arrays in the same order,
    before its first step.

    Replicated arrays are alike on all members. When a job begins everybody gets those of rank 0. A
    member that joins gets them as its first step begins, in equal parts from all the others, and
    verified.

    Of sharded arrays every member owns a part, and changes it within steps, which are of
    StepMode.ABORT; others keep copies. See docs/state.md.

    shards, replicas   that sharded arrays are cut into, and copies of each beside the owner's
    background         copies are refreshed while the next step is computed: a step that was
                       committed can be lost until the next one is, or until flush(); the numbers
                       of steps then go back, and all arrays, to what they were
    catch_up_bytes     the most that is copied for joiners as one step begins; 0: 32 MiB
    Not for several threads at once.
    """

    _handle: int | None = None

    def __init__(
        self,
        world: World,
        arrays: Mapping[str, Any],
        shards: int = 0,
        replicas: int = 1,
        background: bool = False,
        catch_up_bytes: int = 0,
    ) -> None:
        self._world = world
        self._pins: list[object] = []  # the arrays' memory
        options = _ffi.StateOptions(
            shards=whole(shards, "shards", _ffi.PLACE_SHARDS_MAX),
            replicas=whole(replicas, "replicas", _ffi.PLACE_REPLICAS_MAX) or _NO_REPLICAS,
            background=int(background),
            catch_up_bytes=whole(catch_up_bytes, "catch_up_bytes", 1 << 62),
        )
        handle = _ffi.new_handle()
        check(
            _ffi.lib.shoal_state_create(world.handle, _ffi.byref(options), _ffi.byref(handle))
        )
        self._handle = handle.value
        self._process = os.getpid()
        for name, array in arrays.items():
            self.add(name, array)

    def add(
        self,
        name: str,
        array: Any,
        *,
        sharded: bool = False,
        dtype: Optional[DTypeLike] = None,
    ) -> None:
        """Register an array or tensor, which is kept and written in place. A sharded one has room
        for all members' parts; what is never touched of numpy.zeros or torch.empty costs no memory.

        Raises Mismatch from the next step where members registered different arrays
        """
        wanted = None if dtype is None else as_dtype(dtype)
        buffer = resolve(array, wanted, True, name)
        given = _ffi.StateArray(
            name=name.encode(),
            data=buffer.address,
            count=buffer.elements,
            dtype=buffer.dtype,
            kind=StateKind.SHARDED if sharded else StateKind.REPLICATED,
        )
        check(_ffi.lib.shoal_state_add(self.handle, _ffi.byref(given)))
        self._pins.append(buffer.pin)

    def verify(self) -> list[Divergence]:
        """Compare the arrays of all members by hash; between steps, and called by all. Those that
        are not like most others' are listed, alike on all members; nothing is changed."""
        count, capacity = _ffi.c_size_t(), self._world.size * max(1, len(self._pins))
        found = (_ffi.StateDivergence * capacity)()
        check(_ffi.lib.shoal_state_verify(self.handle, found, capacity, _ffi.byref(count)))
        listed = found[: min(count.value, capacity)]
        return [Divergence(entry.name.decode(), entry.rank) for entry in listed]

    def owned(self, name: str) -> list[slice]:
        """The elements of a sharded array that are this member's until the next step begins."""
        count = _ffi.c_size_t()
        given = self.handle, name.encode()
        check(_ffi.lib.shoal_state_owned(*given, None, 0, _ffi.byref(count)))
        ranges = (_ffi.StateRange * count.value)()
        check(_ffi.lib.shoal_state_owned(*given, ranges, count.value, _ffi.byref(count)))
        return [slice(found.first, found.first + found.count) for found in ranges]

    def flush(self) -> None:
        """Wait until what was committed is safe, where copies are refreshed in the background;
        between steps, and called by all.

        Raises StepRetry where members changed meanwhile: begin the last step again
        """
        check(_ffi.lib.shoal_state_flush(self.handle))

    def gather(self, name: str) -> None:
        """Bring all parts of a sharded array into every member's, from the owners' as they are
        now; called by all, within steps or between."""
        check(_ffi.lib.shoal_state_gather(self.handle, name.encode()))

    @property
    def lost(self) -> list[Loss]:
        """What StateLost is about."""
        count = _ffi.c_size_t()
        check(_ffi.lib.shoal_state_lost(self.handle, None, 0, _ffi.byref(count)))
        losses = (_ffi.StateLoss * count.value)()
        check(_ffi.lib.shoal_state_lost(self.handle, losses, count.value, _ffi.byref(count)))
        return [
            Loss(found.name.decode(), slice(found.first, found.first + found.count))
            for found in losses
        ]

    @property
    def info(self) -> StateInfo:
        """What was done so far."""
        info = _ffi.StateInfo()
        check(_ffi.lib.shoal_state_info(self.handle, _ffi.byref(info)))
        return StateInfo(
            info.settled,
            info.bytes_sent,
            info.bytes_received,
            info.bytes_moved,
            info.settle_ns * 1e-9,
            info.refresh_bytes,
            info.refresh_ns * 1e-9,
            info.bytes_handed,
            info.bad_chunks,
            info.bad_giver,
            info.keep_ns * 1e-9,
            info.step_ns * 1e-9,
            info.caught_up_bytes,
            info.catch_up_ns * 1e-9,
            info.given_bytes,
            info.given_steps,
        )

    @property
    def handle(self) -> int:
        """The C handle; InvalidArgument after close()."""
        if self._handle is None:
            raise InvalidArgument("the state is closed")
        return self._handle

    def close(self) -> None:
        """Forget the arrays; twice is fine."""
        if self._handle is not None:
            _ffi.lib.shoal_state_destroy(self._handle)
            self._handle = None
            self._pins = []

    def __del__(self) -> None:
        if self._handle is not None and self._process == os.getpid():  # not in a forked copy
            self.close()
