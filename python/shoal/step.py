"""Steps of an elastic world, as `with` statements.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Optional

from shoal import _ffi
from shoal.checks import whole
from shoal.context import check
from shoal.enums import Status
from shoal.errors import ShoalError, StepRetry

if TYPE_CHECKING:
    from shoal.world import World


class Step:
    """A step under way; `with` begins and commits it.

    An exception in the block gives it up, on all members alike; all but StepRetry, which may be
    raised to do that, go on.
    """

    number: int  # steps committed before it
    position: int  # samples consumed by these
    epoch: int
    rank: int
    size: int
    joined: int  # members new since the last step, this one included; they are the last ranks

    def __init__(self, world: World) -> None:
        self._world = world
        self.samples = 0  # that this member consumes in it: WorldSamples.take() adds them
        self.committed = False
        self._streams: set[int] = set()  # that have been added

    def __enter__(self) -> Step:
        begun = _ffi.WorldStep()
        check(_ffi.lib.shoal_step_begin(self._world.handle, _ffi.byref(begun)))
        self.number, self.position, self.epoch = begun.step, begun.position, begun.epoch
        self.rank, self.size, self.joined = begun.rank, begun.size, begun.joined
        self._world._pins = []
        self._world._open = self
        self.samples = 0
        self._streams.clear()
        self.committed = False
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        _: Optional[TracebackType],
    ) -> bool:
        if error is not None:
            return self._give_up(isinstance(error, StepRetry))
        try:
            samples = whole(self.samples, "samples")
            check(_ffi.lib.shoal_step_commit(self._world.handle, samples))
            self.committed = True
        except StepRetry:
            pass
        except ShoalError:
            self._give_up(False)
            raise
        self._world._open = None
        self._world._pins = None  # until here a failure could make the world use them again
        return False

    def _give_up(self, is_retry: bool) -> bool:
        """True: it is, and nobody needs to know why. When it cannot be, the membership is over, and
        the world's next call says so."""
        if self._world._handle is None:
            return False  # closed in the block
        if _ffi.lib.shoal_step_abort(self._world.handle) != Status.OK:
            return False  # the step stays open, and with it what its operations use
        self._world._open = self._world._pins = None
        return is_retry
