"""Which rank trains on what: every sample once per data epoch, whatever joins, fails or leaves.

    samples = shoal.Samples(len(dataset), batch=256, seed=1)
    while samples.data_epoch < 10:
        share = samples.assign(comm.rank, comm.size)
        train(share.indices, weight=len(share.indices) / share.total)
        samples.commit(comm.size)

Every rank has its own object and commits the same steps with the same contributors; no rank sends
anything. A step that is given up needs no call. Not for several threads at once.

In an elastic world, World.samples() makes streams that the world's steps commit.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import array
from typing import Any, Iterable, NamedTuple, Optional, Protocol

from shoal import _ffi
from shoal.checks import U32_MAX, U64_MAX, whole
from shoal.context import check
from shoal.enums import BatchMode
from shoal.errors import InvalidArgument


class Share(NamedTuple):
    """What a rank gets of a step."""

    indices: array.array[int]  # numbers of samples; numpy.asarray and torch take it
    total: int  # samples of all ranks: len(indices) / total is this rank's weight in a mean
    step: int  # counted from 0 over all data epochs
    data_epoch: int


class _World(Protocol):
    """What a stream needs of its world."""

    @property
    def handle(self) -> int:
        """The C handle."""

    @property
    def rank(self) -> int:
        """Of this process."""

    @property
    def size(self) -> int:
        """Number of members."""

    def note_samples(self, stream: object, count: int) -> None:
        """It takes part in the open step with so many samples."""


class Info(NamedTuple):
    """Where a stream stands."""

    step: int  # steps committed
    data_epoch: int
    samples: int  # of a data epoch
    consumed: int  # of this data epoch
    skipped: int  # of those not consumed, the ones before the cursor
    skipped_spans: int  # that they form


def _place(indices: array.array[int]) -> Optional[int]:
    return _ffi.writable_address(indices) if indices else None


class Samples:
    """A seeded permutation of all samples, a new one each data epoch, and a position in it.

    samples        how many there are, numbered from 0; with shards it may be left out
    batch          samples of a step: of all ranks together, or with per_rank=True of each
    shard_lengths  permute shards of these lengths instead; samples of a shard are numbered one
                   after another and stay together and in order
    """

    _handle: int | None = None

    def __init__(
        self,
        samples: int = 0,
        *,
        batch: int,
        seed: int = 0,
        per_rank: bool = False,
        shard_lengths: Optional[Iterable[int]] = None,
    ) -> None:
        lengths = None
        if shard_lengths is not None:
            lengths = array.array("Q", (whole(n, "a length") for n in shard_lengths))
        options = _ffi.SamplesOptions(
            seed=seed & U64_MAX,
            samples=whole(samples, "samples"),
            batch=whole(batch, "batch"),
            mode=BatchMode.PER_RANK if per_rank else BatchMode.GLOBAL,
        )
        if lengths:
            options.shard_lengths = _ffi.writable_address(lengths)
            options.shard_count = len(lengths)
        handle = _ffi.new_handle()
        check(_ffi.lib.shoal_samples_create(_ffi.byref(options), _ffi.byref(handle)))
        self._handle = handle.value
        self.batch = batch
        self.per_rank = per_rank

    # ---- a step --------------------------------------------------------------------------------

    def share(self, rank: int, size: int, ahead: int = 0) -> tuple[int, Share]:
        """How many samples a rank gets, and its share without their numbers."""
        return self._assign(rank, size, ahead, array.array("Q"))

    def assign(self, rank: int, size: int, ahead: int = 0) -> Share:
        """The samples that a rank of `size` is to train on in the step at hand.

        ahead  k: in the one after k commits by all of this many ranks, for those that load ahead
        """
        count, _ = self.share(rank, size, ahead)
        return self._assign(rank, size, ahead, array.array("Q", bytes(8 * count)))[1]

    def _assign(
        self, rank: int, size: int, ahead: int, indices: array.array[int]
    ) -> tuple[int, Share]:
        view = _ffi.SamplesView(
            rank=whole(rank, "rank", U32_MAX),
            size=whole(size, "size", U32_MAX),
            ahead=whole(ahead, "ahead"),
        )
        share = _ffi.SamplesShare()
        status = _ffi.lib.shoal_samples_assign(
            self._handle, _ffi.byref(view), _place(indices), len(indices), _ffi.byref(share)
        )
        check(status)
        return share.count, Share(indices, share.total, share.step, share.data_epoch)

    def commit(self, size: int, contributed: Optional[Iterable[object]] = None) -> bytes:
        """The step at hand, as assigned to `size` ranks, has taken effect.

        contributed  true or false for each rank; what those with false had is served first from
                     the next step on. None: all contributed
        Returns the record of what was consumed, for apply() on a rank that missed it.
        """
        flags = None
        if contributed is not None:
            flags = bytes(bool(one) for one in contributed)
            if len(flags) != size:
                raise InvalidArgument(f"contributed has {len(flags)} flags for {size} ranks")
        record, used = _ffi.create_text_buffer(_ffi.SAMPLES_BYTES_MAX), _ffi.new_size()
        number = whole(size, "size", U32_MAX)
        check(
            _ffi.lib.shoal_samples_commit(self._handle, number, flags, record, _ffi.byref(used))
        )
        return record.raw[: used.value]

    def apply(self, record: bytes) -> None:
        """Commit the step that another rank's record tells of."""
        check(_ffi.lib.shoal_samples_apply(self._handle, record, len(record)))

    # ---- the position --------------------------------------------------------------------------

    def save(self) -> bytes:
        """The position, for a checkpoint or a rank that joins. Batch and number of ranks may differ
        where it is restored."""
        data, used = _ffi.create_text_buffer(_ffi.SAMPLES_BYTES_MAX), _ffi.new_size()
        check(_ffi.lib.shoal_samples_save(self._handle, data, _ffi.byref(used)))
        return data.raw[: used.value]

    def restore(self, data: bytes) -> None:
        """Go to a saved position of a stream with the same seed and samples."""
        check(_ffi.lib.shoal_samples_restore(self._handle, data, len(data)))

    def info(self) -> Info:
        """Where it stands."""
        info = _ffi.SamplesInfo()
        check(_ffi.lib.shoal_samples_info(self._handle, _ffi.byref(info)))
        return Info(*(getattr(info, name) for name in Info._fields))

    @property
    def step(self) -> int:
        """Steps committed."""
        return self.info().step

    @property
    def data_epoch(self) -> int:
        """Data epochs whose samples have all been consumed."""
        return self.info().data_epoch

    def steps_left(self, size: int) -> int:
        """Steps to the end of this data epoch, if all of `size` ranks contribute to each."""
        info = self.info()
        batch = self.batch * size if self.per_rank else self.batch
        return -(-(info.samples - info.consumed) // batch)

    def __repr__(self) -> str:
        info = self.info()
        done = f"{info.consumed} of {info.samples} consumed"
        return f"<shoal.Samples step {info.step}, data epoch {info.data_epoch}: {done}>"

    def __del__(self) -> None:
        if self._handle is not None:
            _ffi.lib.shoal_samples_destroy(self._handle)


class WorldSamples(Samples):
    """A stream whose position moves when a step of its world is committed.

    World.samples() makes it; every member makes the same ones. A member that joins gets the
    position of the others in its first step. What members that were lost had comes first in the
    step after.
    """

    def __init__(self, world: _World, samples: int, **options: Any) -> None:
        super().__init__(samples, **options)
        self.world = world

    def take(self) -> Share:
        """What this member is to train on in the open step; again in the same step: the same.

        A call of all members. It sends nothing, unless somebody has joined.
        """
        indices = array.array("Q")
        count = self._take(indices).count
        indices.frombytes(bytes(8 * count))
        share = self._take(indices)
        self.world.note_samples(self, count)
        return Share(indices, share.total, share.step, share.data_epoch)

    def _take(self, indices: array.array[int]) -> _ffi.SamplesShare:
        share = _ffi.SamplesShare()
        status = _ffi.lib.shoal_step_samples(
            self.world.handle, self._handle, _place(indices), len(indices), _ffi.byref(share)
        )
        check(status)
        return share

    def commit(self, size: int, contributed: Optional[Iterable[object]] = None) -> bytes:
        """Not here: the world's steps commit it."""
        raise InvalidArgument("the steps of its world commit this stream")

    def apply(self, record: bytes) -> None:
        """Not here: the world's steps commit it."""
        raise InvalidArgument("the steps of its world commit this stream")
