"""Reductions written in Python.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any, Callable, Optional

from shoal import _ffi
from shoal.context import check
from shoal.enums import ITEM_BYTES, DType
from shoal.memory import FORMATS

if TYPE_CHECKING:
    from shoal.comm import Comm

# out[i] = a[i] op b[i]; a belongs to lower ranks than b, out may be one of them.
ReduceFunction = Callable[[memoryview, memoryview, memoryview, DType], None]


class UserOp:
    """A reduction made by create_op of a communicator or world; belongs to that, lives as long."""

    def __init__(
        self,
        comm: Comm,
        function: ReduceFunction,
        commutes: bool,
        create: Any = _ffi.lib.shoal_op_create,
    ) -> None:
        self._function = function
        self._error: Optional[BaseException] = None
        self._comm = weakref.ref(comm)
        # C keeps the callback, so this object must live as long as the communicator: see create_op.
        self._callback = _ffi.ReduceFunction(self._reduce)
        options = _ffi.OpOptions(function=self._callback, commutes=bool(commutes))
        number = _ffi.new_u32()
        check(create(comm.handle, _ffi.byref(options), _ffi.byref(number)))
        self.id = number.value

    def belongs_to(self, comm: Comm) -> bool:
        """Whether it was created on this communicator."""
        return self._comm() is comm

    def take_error(self) -> Optional[BaseException]:
        """What the function raised since the last time; the results are then undefined."""
        error, self._error = self._error, None
        return error

    def _reduce(self, a: int, b: int, out: int, count: int, dtype: int, _user: object) -> None:
        # Called from whichever thread drives progress. Nothing may be raised into C.
        views = []
        try:
            nbytes = count * ITEM_BYTES[dtype]
            for address in (a, b, out):
                views.append(_ffi.view_memory(address, nbytes, FORMATS[dtype], None))
            self._function(views[0].toreadonly(), views[1].toreadonly(), views[2], DType(dtype))
        except BaseException as error:  # noqa: BLE001
            self._error = error
        for view in views:
            with contextlib.suppress(BufferError):
                view.release()
