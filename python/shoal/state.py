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

from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Optional

from shoal import _ffi
from shoal.buffers import DTypeLike, as_dtype, resolve
from shoal.context import check
from shoal.enums import StateKind
from shoal.errors import InvalidArgument

if TYPE_CHECKING:
    from shoal.world import World


class Divergence(NamedTuple):
    """An array of one member that is not like that of most."""

    name: str
    rank: int


class StateInfo(NamedTuple):
    """What was done so far."""

    settled: int  # how often state was brought to the members of a new view
    bytes_sent: int  # of state, by this member, the last time
    bytes_received: int  # likewise
    settle_seconds: float  # what that took, with waiting for the others


class State:
    """The arrays of a world that every member has, and alike; made by World.state().

    Every member makes it between the same operations and adds the same arrays in the same order,
    before its first step. When a job begins everybody gets those of rank 0. A member that joins
    gets them as its first step begins, in equal parts from all the others, and verified.

    Not for several threads at once.
    """

    _handle: int | None = None

    def __init__(self, world: World, arrays: Mapping[str, Any]) -> None:
        self._world = world
        self._pins: list[object] = []  # the arrays' memory
        handle = _ffi.new_handle()
        check(_ffi.lib.shoal_state_create(world.handle, None, _ffi.byref(handle)))
        self._handle = handle.value
        for name, array in arrays.items():
            self.add(name, array)

    def add(self, name: str, array: Any, *, dtype: Optional[DTypeLike] = None) -> None:
        """Register an array or tensor, which is kept and written in place.

        Raises Mismatch from the next step where members registered different arrays
        """
        wanted = None if dtype is None else as_dtype(dtype)
        buffer = resolve(array, wanted, True, name)
        given = _ffi.StateArray(
            name=name.encode(),
            data=buffer.address,
            count=buffer.elements,
            dtype=buffer.dtype,
            kind=StateKind.REPLICATED,
        )
        given.struct_size = _ffi.sizeof(given)
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

    @property
    def info(self) -> StateInfo:
        """What was done so far."""
        info = _ffi.StateInfo()
        info.struct_size = _ffi.sizeof(info)
        check(_ffi.lib.shoal_state_info(self.handle, _ffi.byref(info)))
        return StateInfo(
            info.settled, info.bytes_sent, info.bytes_received, info.settle_ns * 1e-9
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
        self.close()
