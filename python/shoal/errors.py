"""Exceptions: one class a status code, under one class for each group of codes.

The text is the C library's: one line that names rank, peer, value or errno and what to do. A code
of a newer library that this package does not know becomes an error of its group.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

from shoal.enums import Status


class ShoalError(Exception):
    """Any error of Shoal; `status` is the C status code."""

    status: int = Status.INTERNAL

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


class CallError(ShoalError):
    """The call is wrong; nothing was started."""


class InvalidArgument(CallError, ValueError):
    """An argument is out of range or of the wrong kind."""

    status = Status.INVALID


class Unsupported(CallError):
    """Legal, but this build or machine cannot do it."""

    status = Status.UNSUPPORTED


class Busy(CallError):
    """The object is in use."""

    status = Status.BUSY


class Forked(CallError):
    """The object belongs to the parent process; create a new one after fork()."""

    status = Status.FORKED


class ConfigError(CallError):
    """An unknown setting, or a bad value; the text names the nearest."""

    status = Status.CONFIG


class RequestError(ShoalError):
    """The operation failed on every rank alike; the communicator is usable."""


class Mismatch(RequestError):
    """Ranks disagree on operation, count, dtype, op, root or order."""

    status = Status.MISMATCH


class Timeout(RequestError, TimeoutError):
    """The deadline passed; the text names who is missing."""

    status = Status.TIMEOUT


class Aborted(RequestError):
    """A rank gave the operation up."""

    status = Status.ABORTED


class PeerError(ShoalError):
    """A rank is lost; the communicator can only be closed."""


class PeerLost(PeerError, ConnectionError):
    """A rank died, stopped or cannot be reached."""

    status = Status.PEER


class AuthError(PeerError):
    """A peer did not prove that it knows the job secret."""

    status = Status.AUTH


class VersionError(PeerError):
    """A peer speaks another version of the protocol."""

    status = Status.VERSION


class Absent(PeerError, TimeoutError):
    """Ranks did not arrive at the rendezvous in time; the text lists them."""

    status = Status.ABSENT


class EpochError(ShoalError):
    """The membership changed."""


class EpochChanged(EpochError):
    """The membership changed under the call."""

    status = Status.EPOCH


class StoreError(EpochError):
    """The store of the membership record could not be reached."""

    status = Status.STORE


class StepRetry(EpochError):
    """The step counts nowhere; begin it again."""

    status = Status.STEP_RETRY


class StateLost(EpochError):
    """All copies of a part of the state are gone: State.lost. The world goes on."""

    status = Status.STATE_LOST


class ProcessError(ShoalError):
    """Resources, or a fault of Shoal."""


class NoMemory(ProcessError, MemoryError):
    """Memory ran out."""

    status = Status.NOMEM


class SystemFailure(ProcessError):
    """A system call failed; the text has its name and errno."""

    status = Status.SYSTEM


class InternalError(ProcessError):
    """Shoal found itself in a state that cannot be; please report it."""

    status = Status.INTERNAL


_CLASSES: dict[int, type[ShoalError]] = {
    cls.status: cls
    for group in (CallError, RequestError, PeerError, EpochError, ProcessError)
    for cls in group.__subclasses__()
}
# Lowest code of each group.
_GROUPS = ((-19, CallError), (-39, RequestError), (-59, PeerError), (-79, EpochError))


def error_class(status: int) -> type[ShoalError]:
    """The exception class for a negative status code, also for one that is not known."""
    known = _CLASSES.get(status)
    if known is not None:
        return known
    for lowest, group in _GROUPS:
        if status >= lowest:
            return group
    return ProcessError
