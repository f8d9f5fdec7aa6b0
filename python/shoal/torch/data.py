"""Streams of samples as PyTorch loaders take them.

    samples = shoal.Samples(len(dataset), batch=256)
    loader = shoal.torch.StepLoader(dataset, samples, comm, num_workers=2)
    for batch in loader:                       # to the end of the data epoch
        if batch.data is not None:             # None: this rank has none of the last few
            loss = train(batch.data) * batch.weight
        loader.commit()

In an elastic world, WorldLoader follows its steps.

A step that is not committed comes again. Who the view is, rank and size, is looked up before every
step: when it has changed, what was read ahead is dropped.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, Iterable, Iterator, List, NamedTuple, Optional, Protocol

import torch.utils.data

from shoal.samples import Samples, WorldSamples


class View(Protocol):
    """Whatever has a rank and a size: a communicator, or a world whose members change."""

    @property
    def rank(self) -> int:
        """Of this process."""

    @property
    def size(self) -> int:
        """Number of ranks."""


class Batch(NamedTuple):
    """This rank's part of a step."""

    data: Any  # as collated; None when the rank has no sample
    count: int  # samples in it
    total: int  # samples of all ranks
    step: int
    data_epoch: int

    @property
    def weight(self) -> float:
        """Of this rank's mean in the mean of all ranks; the weights of a step add up to 1."""
        return self.count / self.total


class StepSampler(torch.utils.data.Sampler):
    """For DataLoader(batch_sampler=...): this rank's samples of one step after the other, to the
    end of the data epoch. An item may be empty at its end.

    It may be read ahead of the commits, as long as all of the same ranks contribute to each; when
    that changes, begin a new iteration.
    """

    def __init__(self, samples: Samples, view: View) -> None:
        self._samples = samples
        self._view = view

    def __iter__(self) -> Iterator[List[int]]:
        rank, size = self._view.rank, self._view.size
        start = self._samples.info()
        step = start.step
        while True:
            share = self._samples.assign(rank, size, step - self._samples.step)
            if share.data_epoch != start.data_epoch:
                return
            yield share.indices.tolist()
            step += 1

    def __len__(self) -> int:
        return self._samples.steps_left(self._view.size)


class _Collate:
    """Empty lists, which nothing collates, become None. A class, since workers may pickle it."""

    def __init__(self, collate: Callable[[List[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, items: List[Any]) -> Any:
        return self._collate(items) if items else None


class StepLoader:
    """Batches of one step after the other, to the end of the data epoch.

    view     a communicator, or whatever else has `rank` and `size`
    options  of torch.utils.data.DataLoader: num_workers, prefetch_factor, pin_memory, ...
    """

    def __init__(
        self,
        dataset: Any,
        samples: Samples,
        view: View,
        *,
        collate_fn: Optional[Callable[[List[Any]], Any]] = None,
        **options: Any,
    ) -> None:
        self.samples = samples
        self._view = view
        collate = collate_fn or torch.utils.data.default_collate
        # With a generator of its own a loader leaves the program's random numbers alone.
        options.setdefault("generator", torch.Generator())
        self._loader = torch.utils.data.DataLoader(
            dataset,
            batch_sampler=StepSampler(samples, view),
            collate_fn=_Collate(collate),
            **options,
        )
        self._ahead: Optional[Iterator[Any]] = None
        self._place: Optional[tuple[int, int, int]] = None  # rank, size, next step of _ahead
        self._batch: Optional[Batch] = None

    def __iter__(self) -> Iterator[Batch]:
        data_epoch = self.samples.data_epoch
        while self.samples.data_epoch == data_epoch:
            yield self._next()

    def _next(self) -> Batch:
        rank, size = self._view.rank, self._view.size
        count, share = self.samples.share(rank, size)
        if self._batch is not None and self._place == (rank, size, share.step + 1):
            return self._batch  # It was not committed, and nobody has come or gone.
        if self._ahead is None or self._place != (rank, size, share.step):
            self._ahead = iter(self._loader)
        try:
            data = next(self._ahead)
        except StopIteration:  # The data epoch that was read ahead is over.
            self._ahead = iter(self._loader)
            data = next(self._ahead)
        self._place = (rank, size, share.step + 1)
        self._batch = Batch(data, count, share.total, share.step, share.data_epoch)
        return self._batch

    def commit(self, contributed: Optional[Iterable[object]] = None) -> bytes:
        """The step has taken effect; as Samples.commit(), for the ranks of the view that the batch
        was made for."""
        size = self._place[1] if self._place is not None else self._view.size
        record = self.samples.commit(size, contributed)
        self._batch = None
        if contributed is not None:
            self._ahead = None  # What was skipped comes first now.
        return record

    def state_dict(self) -> dict[str, Any]:
        """The position, for a checkpoint."""
        return {"samples": self.samples.save()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the position of a checkpoint; batch and number of ranks may differ."""
        self.samples.restore(state["samples"])
        self._ahead = self._batch = self._place = None

    def __len__(self) -> int:
        return self.samples.steps_left(self._view.size)


class _AheadSampler(torch.utils.data.Sampler):
    """One step after the other, for as long as nobody comes or goes; remembers what it gave."""

    def __init__(self, samples: WorldSamples, view: View) -> None:
        self._samples = samples
        self._view = view
        self.given: Deque[List[int]] = deque()

    def __iter__(self) -> Iterator[List[int]]:
        rank, size = self._view.rank, self._view.size
        step = self._samples.step
        self.given.clear()
        while True:
            share = self._samples.assign(rank, size, step - self._samples.step)
            self.given.append(share.indices.tolist())
            yield self.given[-1]
            step += 1


class WorldLoader:
    """What this member of an elastic world is to train on, loaded ahead.

        samples = world.samples(len(dataset), batch=256, seed=1)
        loader = shoal.torch.WorldLoader(dataset, samples, num_workers=2)
        while samples.data_epoch < 10:
            with world.step():
                batch = loader.take()
                ...  # gradients of batch.data; None: this member has no sample in the step

    When members come or go, or a step is given up, what was read ahead and does not fit any more is
    dropped.

    options  of torch.utils.data.DataLoader: num_workers, prefetch_factor, ... With workers give
             multiprocessing_context="forkserver" too: forked ones hold this member's sockets, so
             that members on other hosts notice its death by silence alone
    """

    def __init__(
        self,
        dataset: Any,
        samples: WorldSamples,
        *,
        collate_fn: Optional[Callable[[List[Any]], Any]] = None,
        **options: Any,
    ) -> None:
        self.samples = samples
        self._dataset = dataset
        self._collate = _Collate(collate_fn or torch.utils.data.default_collate)
        self._sampler = _AheadSampler(samples, samples.world)
        options.setdefault("generator", torch.Generator())
        if options.get("num_workers"):
            options.setdefault("persistent_workers", True)
        self._loader = torch.utils.data.DataLoader(
            dataset, batch_sampler=self._sampler, collate_fn=self._collate, **options
        )
        self._ahead: Optional[Iterator[Any]] = None
        self._batch: Optional[Batch] = None
        self._indices: Optional[List[int]] = None  # of _batch

    def take(self) -> Batch:
        """This member's part of the open step; as WorldSamples.take(), a call of all members."""
        share = self.samples.take()
        indices = share.indices.tolist()
        batch = self._batch
        if batch is None or batch.step != share.step or indices != self._indices:
            data = self._load(indices)
        else:
            data = batch.data  # the step was given up, and is the same again
        self._indices = indices
        self._batch = Batch(data, len(indices), share.total, share.step, share.data_epoch)
        return self._batch

    def _load(self, indices: List[int]) -> Any:
        if self._ahead is not None and self._sampler.given and self._sampler.given[0] == indices:
            return self._next()
        self._ahead = iter(self._loader)
        return self._next(indices)

    def _next(self, wanted: Optional[List[int]] = None) -> Any:
        assert self._ahead is not None
        data = next(self._ahead)
        given = self._sampler.given.popleft()
        if wanted is None or given == wanted:
            return data
        # Who is to read what was agreed on before the view that was looked up: in this step alone.
        self._ahead = None
        return self._collate([self._dataset[index] for index in wanted])
