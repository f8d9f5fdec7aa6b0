"""What tests that run as ranks share.

Every rank runs the same tests in the same order, so operations pair up. The first failure ends the
rank, and the others then fail with PeerLost: look at the first that `shoal run` names.

SPDX-License-Identifier: Apache-2.0
"""

import time
import unittest

import shoal

comm: shoal.Comm  # of all ranks
side: shoal.Comm  # another one, for tests that need to meet while an operation is outstanding


def main() -> None:
    """Meet the other ranks and run the tests of the calling file."""
    global comm
    comm = shoal.init()
    try:
        program = unittest.main(exit=False, failfast=True, verbosity=0)
    finally:
        comm.close()
    raise SystemExit(not program.result.wasSuccessful())


def wait_until(condition, what: str, seconds: float = 20) -> None:
    """Wait for an event, with a deadline."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.002)
