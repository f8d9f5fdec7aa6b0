"""Operations in flight, as torch.distributed sees them.

Invariant: the last step of an operation, which hands its results over, runs once, and before
anybody is told that the operation is complete.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import time
import weakref
from datetime import timedelta
from typing import Any, Callable, Optional

import torch
import torch.distributed

import shoal
from shoal.comm import close_all

Finish = Callable[[], None]

# Works that nobody waits for are looked through for finished ones when they are this many.
_KEPT_MAX = 256


class Work(torch._C._distributed_c10d.Work):  # type: ignore[misc]
    """One operation, of one or several requests. Goes on whether or not somebody waits."""

    def __init__(
        self,
        keeper: Keeper,
        name: str,
        requests: list[shoal.Request],
        tensors: list[Any],
        finish: Optional[Finish] = None,
    ) -> None:
        super().__init__()
        self._keeper = keeper
        self._name = name
        self._requests = requests
        self._tensors = tensors
        self._finish = finish
        self._error: Optional[BaseException] = None
        self._over = False
        self._driving = threading.Lock()  # held by the thread that drives the requests
        self._future: Any = None
        keeper.keep(self)

    # ---- what PyTorch calls ------------------------------------------------------------------

    def wait(self, timeout: Optional[timedelta] = None) -> bool:
        """Until it is complete; True, or its error is raised. A timeout leaves it going."""
        seconds = timeout.total_seconds() if timeout is not None else 0
        # PyTorch's "no timeout" is zero or less.
        if not self._drive(seconds if seconds > 0 else None):
            raise shoal.Timeout(
                f"{self._name} is not complete after {seconds:g} s and goes on; wait again, or "
                "give the process group a shorter timeout to have it given up"
            )
        self._keeper.forget(self)
        if self._error is not None:
            raise self._error
        return True

    def is_completed(self) -> bool:
        """Whether it is over, also by an error."""
        return self._over or self._drive(0)

    def is_success(self) -> bool:
        """Whether it is over without an error."""
        return self.is_completed() and self._error is None

    def exception(self) -> Optional[BaseException]:
        """What it failed with."""
        return self._error

    def result(self) -> list[Any]:
        """The tensors that hold the result."""
        return self._tensors

    def synchronize(self) -> None:
        """The same as wait(): host memory has no streams."""
        self.wait()

    def get_future(self) -> Any:
        """A future of the tensors. A thread of the process group completes it, so callbacks run
        while the program computes."""
        if self._future is None:
            done = torch.futures.Future()
            # An error has to be raised in a callback to be one for C++ too.
            self._future = done.then(self._hand_over)
            if self.is_completed():
                done.set_result(None)
            else:
                self._keeper.complete(self, done)
        self._keeper.forget(self)
        return self._future

    # ---- driving ------------------------------------------------------------------------------

    def _hand_over(self, _: Any) -> list[Any]:
        if self._error is not None:
            raise self._error
        return self._tensors

    def _drive(self, seconds: Optional[float]) -> bool:
        """Wait, or with 0 seconds look; False: it is not over yet."""
        end = None if seconds is None else time.monotonic() + seconds
        if not self._driving.acquire(timeout=-1 if seconds is None else seconds):
            return False
        try:
            while self._requests and not self._over:
                if not self._wait_for(self._requests[0], end, seconds == 0):
                    return False
                del self._requests[0]
            if not self._over:
                self._conclude()
            return True
        finally:
            self._driving.release()

    def _wait_for(self, request: shoal.Request, end: Optional[float], look: bool) -> bool:
        try:
            if look:
                return request.test()
            left = None if end is None else max(0.0, end - time.monotonic())
            return request.wait(left)
        except Exception as error:
            if not request.done:
                raise
            self._error = self._error or error
            return True

    def _conclude(self) -> None:
        finish, self._finish = self._finish, None
        if finish is not None and self._error is None:
            try:
                finish()
            except Exception as error:
                self._error = error
        self._over = True

    def __repr__(self) -> str:
        state = "in flight" if not self._over else "failed" if self._error else "complete"
        return f"<shoal.torch.Work {self._name}, {state}>"


class Keeper:
    """Keeps works while C++ alone refers to them, and completes their futures.

    Work and process group both refer to it, so that they need not refer to each other.
    """

    def __init__(self) -> None:
        self._works: dict[int, Work] = {}
        self._lock = threading.Lock()
        self._queue: Optional[queue.SimpleQueue[Any]] = None

    def keep(self, work: Work) -> None:
        """Until somebody waits for it or has asked for its future."""
        with self._lock:
            self._works[id(work)] = work
            kept = list(self._works.values()) if len(self._works) > _KEPT_MAX else []
        for old in kept:
            if old._over:
                self.forget(old)

    def forget(self, work: Work) -> None:
        """Somebody else has it now."""
        with self._lock:
            self._works.pop(id(work), None)

    def complete(self, work: Work, done: Any) -> None:
        """Complete a future when the work is over, in the order in which they are given."""
        with self._lock:
            if self._queue is None:
                self._queue = queue.SimpleQueue()
                thread = threading.Thread(
                    target=_complete_all, args=(self._queue,), daemon=True, name="shoal-torch"
                )
                thread.start()
                _threads[thread] = self._queue
            self._queue.put((work, done))

    def close(self) -> None:
        """End the thread, after what it was given."""
        with self._lock:
            if self._queue is not None:
                self._queue.put(None)
                self._queue = None
            self._works.clear()


_threads: weakref.WeakKeyDictionary[threading.Thread, Any] = weakref.WeakKeyDictionary()
_EXIT_SECONDS = 10.0


def _end_threads() -> None:
    """At exit: a thread that ends inside of PyTorch's C++ would take the process down."""
    close_all()  # What they wait for ends.
    for thread, works in list(_threads.items()):
        works.put(None)
        thread.join(_EXIT_SECONDS)


atexit.register(_end_threads)


def _complete_all(works: queue.SimpleQueue[Any]) -> None:
    while True:
        item = works.get()
        if item is None:
            return
        work, done = item
        try:
            work._drive(None)
        except Exception as error:
            work._error = work._error or error
        # Errors of callbacks are theirs; PyTorch logs them.
        with contextlib.suppress(Exception):
            done.set_result(None)
        del item, work, done
