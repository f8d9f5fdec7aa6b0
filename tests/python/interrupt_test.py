"""Ctrl-C leaves whatever blocks in C, and gives the operation up on every rank. Two ranks.

A thread sends the signal once the main thread is known to wait.

SPDX-License-Identifier: Apache-2.0
"""

import contextlib
import os
import signal
import threading
import time
import unittest

import numpy

import ranks
import shoal

# Far below the operation's own deadline, far above what a busy machine needs.
SOON = 10


@contextlib.contextmanager
def signalled(number, when):
    """Send ourselves a signal when `when()` is true, during the block; it must be over soon."""
    sent = []

    def send():
        ranks.wait_until(when, "the main thread waits")
        sent.append(time.monotonic())
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    took = time.monotonic() - sent[0]
    thread.join()
    print(f"left after {took * 1000:.0f} ms")
    if took > SOON:
        raise AssertionError(f"it took {took:.1f} s to leave")


def waits():
    return "not called it" in ranks.comm.why()


def filled():
    return numpy.full(10, ranks.comm.rank + 1.0)


class InterruptTest(unittest.TestCase):
    def rank_0_leaves(self, wait):
        comm = ranks.comm
        if comm.rank == 0:
            with signalled(signal.SIGINT, waits), self.assertRaises(KeyboardInterrupt):
                wait(comm)
        ranks.side.barrier()
        if comm.rank == 1:
            with self.assertRaisesRegex(shoal.Aborted, "rank 0"):
                comm.allreduce(filled())
        self.assertEqual(comm.allreduce(filled()).tolist(), [3] * 10)

    def test_a_blocking_operation(self):
        self.rank_0_leaves(lambda comm: comm.allreduce(filled()))

    def test_a_wait_in_a_with_block(self):
        def wait(comm):
            with comm.allreduce_async(filled()) as request:
                request.wait()

        self.rank_0_leaves(wait)

    def test_a_wait_leaves_the_request_going(self):
        comm = ranks.comm
        if comm.rank == 0:
            request = comm.allreduce_async(filled())
            began = threading.Event()
            with signalled(signal.SIGINT, began.is_set), self.assertRaises(KeyboardInterrupt):
                began.set()
                request.wait()
            self.assertFalse(request.done)
        ranks.side.barrier()
        if comm.rank == 1:
            request = comm.allreduce_async(filled())
        request.wait()
        self.assertEqual(request.result.tolist(), [3] * 10)

    def test_a_handler_that_returns_disturbs_nothing(self):
        comm = ranks.comm
        handled = threading.Event()
        before = signal.signal(signal.SIGUSR1, lambda *_: handled.set())
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        if comm.rank == 0:
            sender = threading.Thread(target=self.signal_then_call, args=(handled,))
            sender.start()
            values = filled()
            comm.allreduce(values)
            sender.join()
            self.assertTrue(handled.is_set())
        else:
            ranks.side.barrier()
            values = comm.allreduce(filled())
        self.assertEqual(values.tolist(), [3] * 10)

    @staticmethod
    def signal_then_call(handled):
        """Rank 1 calls only when the handler has run while rank 0 was waiting."""
        ranks.wait_until(waits, "the main thread waits")
        os.kill(os.getpid(), signal.SIGUSR1)
        ranks.wait_until(handled.is_set, "the handler runs")
        ranks.side.barrier()

    def test_joining_a_job(self):
        began = threading.Event()

        def join():
            began.set()
            shoal.init(ranks.comm.rank, 3, f"@shoal-nobody-{os.getpid()}", init_timeout=30)

        with signalled(signal.SIGINT, began.is_set), self.assertRaises(KeyboardInterrupt):
            join()

    def test_splitting(self):
        comm = ranks.comm
        parent = comm.split(0)
        if comm.rank == 0:
            with signalled(signal.SIGINT, lambda: "waits for" in parent.why()):
                with self.assertRaises(KeyboardInterrupt):
                    parent.split(0)
            # The thread that was left behind waits on, until the operation is given up.
            parent.abort("the split was interrupted")
            for thread in threading.enumerate():
                if thread.name == "shoal":
                    thread.join(SOON)
        ranks.side.barrier()
        if comm.rank == 1:
            with self.assertRaisesRegex(shoal.Aborted, "the split was interrupted"):
                parent.split(0)
        parent.close()


def setUpModule():
    ranks.side = ranks.comm.split(0)


def tearDownModule():
    ranks.side.close()


if __name__ == "__main__":
    ranks.main()
