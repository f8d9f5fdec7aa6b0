"""What requests of communicators and of worlds have in common.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Optional

from shoal import _ffi
from shoal.enums import Status
from shoal.errors import InvalidArgument

if TYPE_CHECKING:
    from shoal.ops import UserOp

# Python runs signal handlers between calls into C, so no call waits for longer than this.
SLICE_MS = 100


class Pending:
    """An operation in flight: its handle, what keeps its buffers alive, and what it came to."""

    __slots__ = ("_handle", "_pins", "_op", "_error", "_over", "result", "__weakref__")

    def __init__(self, pins: tuple[Any, ...], op: Optional[UserOp], result: Any) -> None:
        self._handle = _ffi.new_handle()
        self._pins: Any = pins
        self._op = op
        self._error: Optional[BaseException] = None
        self._over = False
        self.result = result

    @property
    def done(self) -> bool:
        """Whether it is known to be over; test() finds out."""
        return self._over

    def _live_handle(self) -> int:
        handle = self._handle.value
        if handle is None:
            raise InvalidArgument("the request was never started")
        return handle

    def _drive(self, wait: Callable[[int, int], int], timeout: Optional[float]) -> int:
        """Wait in slices, by wait(handle, milliseconds), and return its status."""
        end = None if timeout is None else time.monotonic() + timeout
        status: int = Status.IN_PROGRESS
        while status == 1:
            slice_ms = SLICE_MS
            if end is not None:
                left_ms = (end - time.monotonic()) * 1000
                slice_ms = max(0, min(SLICE_MS, round(left_ms)))
            status = wait(self._live_handle(), slice_ms)
            if slice_ms < SLICE_MS:
                break
        return status

    def _outcome(self) -> bool:
        if self._error is not None:
            raise self._error
        return self._over
