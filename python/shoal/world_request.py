"""Operations of an elastic world that were started.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Optional

from shoal import _ffi
from shoal.context import check, last_error
from shoal.enums import Status
from shoal.errors import InvalidArgument
from shoal.request import SLICE_MS

if TYPE_CHECKING:
    from shoal.ops import UserOp


class WorldRequest:
    """One operation in flight, from the *_async methods of a world.

    It goes on whether or not somebody waits: requests are carried out in the order of their calls,
    and before the next call of the world that blocks. The world refers to it, and it to its
    buffers, until it is over. `result` is the buffer that receives the result.
    """

    __slots__ = ("_handle", "_pins", "_op", "_error", "_over", "result", "__weakref__")

    def __init__(
        self,
        begin: Callable[[Any], int],
        pins: tuple[Any, ...],
        op: Optional[UserOp],
        result: Any,
    ) -> None:
        self._handle = _ffi.new_handle()
        self._pins: Any = pins
        self._op = op
        self._error: Optional[BaseException] = None
        self._over = False
        self.result = result
        check(begin(_ffi.byref(self._handle)))

    @property
    def done(self) -> bool:
        """Whether it is known to be over; test() finds out."""
        return self._over

    def test(self) -> bool:
        """True when it is complete, False while it goes on; raises its error."""
        if not self._over:
            self._note(_ffi.lib.shoal_world_request_test(self._live_handle()))
        return self._outcome()

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Until it is over, or for `timeout` seconds: False then, and it goes on."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._over:
            slice_ms = SLICE_MS
            if end is not None:
                slice_ms = max(0, min(SLICE_MS, round((end - time.monotonic()) * 1000)))
            self._note(_ffi.lib.shoal_world_request_wait(self._live_handle(), slice_ms))
            if slice_ms < SLICE_MS:
                break
        return self._outcome()

    def _live_handle(self) -> int:
        handle = self._handle.value
        if handle is None:
            raise InvalidArgument("the request was never started")
        return handle

    def _note(self, status: int) -> None:
        if status == Status.IN_PROGRESS:
            return
        if status < 0:
            self._error = last_error(status)
        elif self._op is not None:
            self._error = self._op.take_error()
        self._over = True
        self._pins = None
        _ffi.lib.shoal_world_request_destroy(self._handle)
        self._handle.value = None

    def settle(self) -> bool:
        """Whether it is over, without raising what it came to."""
        if not self._over:
            self._note(_ffi.lib.shoal_world_request_test(self._live_handle()))
        return self._over

    def _outcome(self) -> bool:
        if self._error is not None:
            raise self._error
        return self._over

    def __enter__(self) -> WorldRequest:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *_: object) -> None:
        if kind is None:
            self.wait()
