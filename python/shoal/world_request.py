"""Operations of an elastic world that were started.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional

from shoal import _ffi
from shoal.context import check, last_error
from shoal.enums import Status
from shoal.pending import Pending

if TYPE_CHECKING:
    from shoal.ops import UserOp


class WorldRequest(Pending):
    """One operation in flight, from the *_async methods of a world.

    It goes on whether or not somebody waits: requests are carried out in the order of their calls,
    and before the next call of the world that blocks. The world refers to it, and it to its
    buffers, until it is over. `result` is the buffer that receives the result.
    """

    __slots__ = ()

    def __init__(
        self,
        begin: Callable[[Any], int],
        pins: tuple[Any, ...],
        op: Optional[UserOp],
        result: Any,
    ) -> None:
        super().__init__(pins, op, result)
        check(begin(_ffi.byref(self._handle)))

    def test(self) -> bool:
        """True when it is complete, False while it goes on; raises its error."""
        if not self._over:
            self._note(_ffi.lib.shoal_world_request_test(self._live_handle()))
        return self._outcome()

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Until it is over, or for `timeout` seconds: False then, and it goes on."""
        if not self._over:
            self._note(self._drive(_ffi.lib.shoal_world_request_wait, timeout))
        return self._outcome()

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

    def __enter__(self) -> WorldRequest:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *_: object) -> None:
        if kind is None:
            self.wait()
