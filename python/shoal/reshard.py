"""Layouts of distributed arrays, for Comm.reshard().

    old = shoal.Layout.block(ranks=4)               # what a checkpoint of four ranks holds
    new = shoal.Layout.block()                      # all ranks of this communicator
    mine = numpy.empty(new.count(total, comm.rank, comm.size), "float32")
    comm.reshard(read_my_quarter(), mine, total, old, new)

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import array
from typing import TYPE_CHECKING, Any, Iterable, NamedTuple, Optional

from shoal import _ffi
from shoal.buffers import Buffer, DTypeLike, as_dtype, resolve
from shoal.calls import DEFAULT_TIMEOUT
from shoal.checks import U32_MAX, whole
from shoal.context import check, milliseconds
from shoal.enums import DType, LayoutKind
from shoal.errors import InvalidArgument

if TYPE_CHECKING:
    from shoal.comm import Comm


class Layout:
    """Which rank holds which elements of an array; made by block(), blocks(), cyclic(), spans().

    A rank's buffer holds its elements one after another, ascending, or in the order of its spans.
    All ranks describe a layout in the same way.
    """

    def __init__(self, kind: LayoutKind, first_rank: int = 0, ranks: int = 0) -> None:
        self._image = _ffi.Layout(
            kind=kind,
            first_rank=whole(first_rank, "first_rank", U32_MAX),
            ranks=whole(ranks, "ranks", U32_MAX),
        )
        self._keep: Any = None

    @classmethod
    def block(cls, ranks: int = 0, first_rank: int = 0) -> Layout:
        """ceil(count / ranks) elements each, on ranks from first_rank on; ranks=0: all of them."""
        return cls(LayoutKind.BLOCK, first_rank, ranks)

    @classmethod
    def blocks(cls, counts: Iterable[int], first_rank: int = 0) -> Layout:
        """counts[i] elements on rank first_rank + i."""
        kept = array.array("Q", (whole(count, "a count") for count in counts))
        if not kept:
            raise InvalidArgument("counts is empty")
        layout = cls(LayoutKind.BLOCKS, first_rank, len(kept))
        layout._image.counts = _ffi.writable_address(kept)
        layout._keep = kept
        return layout

    @classmethod
    def cyclic(cls, block: int = 1, ranks: int = 0, first_rank: int = 0) -> Layout:
        """Runs of `block` elements dealt out in turn."""
        layout = cls(LayoutKind.CYCLIC, first_rank, ranks)
        layout._image.block = whole(block, "block")
        return layout

    @classmethod
    def spans(cls, spans: Iterable[tuple[int, int, int]]) -> Layout:
        """(first, count, rank) each, in any order; they must not overlap."""
        triples = [
            (whole(a, "first"), whole(b, "count"), whole(c, "rank")) for a, b, c in spans
        ]
        kept = _ffi.span_list(triples)
        layout = cls(LayoutKind.SPANS)
        layout._image.spans = kept
        layout._image.span_count = len(kept)
        layout._keep = kept
        return layout

    @property
    def image(self) -> _ffi.Layout:
        """As C reads it; valid while the layout lives."""
        return self._image

    def count(self, total: int, rank: int, size: int) -> int:
        """How many elements of `total` a rank of `size` holds."""
        found = _ffi.new_u64()
        check(
            _ffi.lib.shoal_layout_count(
                _ffi.byref(self._image),
                whole(total, "total"),
                whole(rank, "rank", U32_MAX),
                whole(size, "size", U32_MAX),
                _ffi.byref(found),
            )
        )
        return found.value


class Call(NamedTuple):
    """A reshard whose buffers have been found."""

    image: _ffi.ReshardCall
    pins: tuple[Any, ...]


def _find(obj: Any, dtype: Optional[DType], writable: bool, role: str) -> Optional[Buffer]:
    return None if obj is None else resolve(obj, dtype, writable, role)


def make_call(
    comm: Comm,
    buffers: tuple[Any, Any],
    count: int,
    layouts: tuple[Layout, Layout],
    dtype: Optional[DTypeLike],
    timeout: Optional[float],
    fits: bool = True,
) -> Call:
    """From arguments to what C reads. fits: the buffers must have the layouts' elements."""
    wanted = None if dtype is None else as_dtype(dtype)
    found = [
        _find(buffers[0], wanted, False, "send"),
        _find(buffers[1], wanted, True, "recv"),
    ]
    types = {buffer.dtype for buffer in found if buffer is not None}
    if wanted is not None:
        types.add(wanted)
    if len(types) != 1:
        names = " and ".join(sorted(str(DType(t)) for t in types))
        raise InvalidArgument(
            f"send, recv and dtype= name different types, {names}; make them one"
            if types
            else "name the type of no buffers with dtype="
        )
    whole(count, "count")
    for buffer, layout, role in zip(found, layouts, ("send", "recv")):
        held = layout.count(count, comm.rank, comm.size) if fits else 0
        given = 0 if buffer is None else buffer.elements
        if fits and given != held:
            raise InvalidArgument(
                f"{role} has {given} elements, but rank {comm.rank} holds {held} of {count}"
            )
    image = _ffi.ReshardCall(
        count=count,
        dtype=types.pop(),
        timeout_ms=DEFAULT_TIMEOUT if timeout is None else milliseconds(timeout, "timeout"),
        to=_ffi.pointer(layouts[1].image),
        send=None if found[0] is None else found[0].address,
        recv=None if found[1] is None else found[1].address,
    )
    setattr(image, "from", _ffi.pointer(layouts[0].image))
    pins = tuple(buffer.pin for buffer in found if buffer is not None)
    return Call(image, (*pins, *layouts))
