"""Long calls into C that Ctrl-C can leave.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import threading
from typing import Callable, TypeVar

T = TypeVar("T")

SLICE_SECONDS = 0.1


def run_interruptibly(function: Callable[[], T]) -> T:
    """Run a function that blocks in C for long and has no request to wait for in slices.

    Python runs signal handlers in the main thread, between calls, so the function runs in another
    one. When a handler raises, that thread is left behind: it ends at its own deadline, and what it
    returns is released by its destructor.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="shoal")
    thread.start()
    while thread.is_alive():
        thread.join(SLICE_SECONDS)
    if errors:
        raise errors[0]
    return results[0]
