"""Requests: operations in flight.

Invariant: a buffer is referred to from the moment that C knows it until C has let go of it,
whatever exception comes in between.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from shoal import _ffi
from shoal.context import check, last_error
from shoal.enums import Status
from shoal.errors import Aborted, ShoalError
from shoal.pending import Pending

if TYPE_CHECKING:
    from shoal.comm import Comm
    from shoal.ops import UserOp


class Request(Pending):
    """One operation in flight, from the *_async methods of a communicator.

    It goes on whether or not somebody waits, and keeps its buffers alive until it is over. When the
    last reference goes while it is unfinished it is aborted on all ranks. `result` is the buffer
    that receives the result.
    """

    __slots__ = ("_comm",)

    def __init__(
        self,
        comm: Comm,
        image: Any,
        pins: tuple[Any, ...],
        op: Optional[UserOp],
        result: Any,
        start: Any = _ffi.lib.shoal_start,
    ) -> None:
        super().__init__(pins, op, result)
        self._comm = comm
        # From here on C knows the buffers; _handle is filled before anything can be raised.
        check(start(comm.handle, image, _ffi.byref(self._handle)))

    def test(self) -> bool:
        """Drive it once: True when it is complete, False while it goes on; raises its error."""
        if not self._over:
            self._note(_ffi.lib.shoal_request_test(self._live_handle()))
        return self._outcome()

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Drive it until it is over, or for `timeout` seconds.

        True: complete. False: the time passed, and the request goes on and keeps its buffers.
        Without a timeout it ends at the operation's own deadline at the latest: then it is given up
        on every rank, and Timeout is raised.
        """
        if self._over:
            return self._outcome()
        try:
            self._comm._calls.append(None)
            self._note(self._drive(_ffi.lib.shoal_request_wait, timeout))
        finally:
            self._comm._calls.pop()
        return self._outcome()

    def abort(self) -> None:
        """Give it up on every rank. After that the buffers are free and wait() raises Aborted,
        unless it was over before."""
        if not self._over:
            check(_ffi.lib.shoal_request_abort(self._live_handle()))
            self._note(_ffi.lib.shoal_request_test(self._live_handle()))

    def _note(self, status: int) -> None:
        """Remember the outcome and let go of the buffers, once it is over."""
        if status == Status.IN_PROGRESS:
            return
        if status < 0:
            error = last_error(status)
            if status > -20:
                raise error  # The call was refused (a forked child): nothing is known.
            self._error = error
        elif self._op is not None:
            self._error = self._op.take_error()
        self._over = True
        self._pins = None

    def _detach(self) -> None:
        """The communicator is about to be destroyed: afterwards the handle means nothing."""
        if self._handle.value is None:
            return
        if not self._over:
            try:
                self._note(_ffi.lib.shoal_request_test(self._handle))
            except ShoalError:
                return
        if self._over:
            _ffi.lib.shoal_request_destroy(self._handle)
            self._handle.value = None

    def _abandon(self) -> None:
        """The communicator is destroyed, and with it the operation."""
        self._handle.value = None
        if not self._over:
            self._over = True
            self._pins = None
            self._error = Aborted("the communicator was closed before the operation was over")

    def __enter__(self) -> Request:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *_: object) -> None:
        if kind is None:
            self.wait()
        else:
            self.abort()

    def __del__(self) -> None:
        # Aborts an unfinished one first; the pins go after that.
        if self._handle.value is not None:
            _ffi.lib.shoal_request_destroy(self._handle)
