"""A context: the settings, memory and threads of one process.

Most programs need none of their own: shoal.init() and shoal.empty() share the default one.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import os
import threading
from typing import Any, Iterable, Mapping, Optional, Union

from shoal import _ffi
from shoal.errors import InvalidArgument, ShoalError, error_class

Settings = Union[Mapping[str, Any], Iterable[str]]


def last_error(status: int) -> ShoalError:
    """The exception for a status that the calling thread's last call returned."""
    text = (_ffi.lib.shoal_last_error() or b"").decode("utf-8", "replace")
    if not text:
        text = _ffi.lib.shoal_status_string(status).decode()
    return error_class(status)(text, status)


def check(status: int) -> None:
    """Raise what a negative status means."""
    if status < 0:
        raise last_error(status)


def milliseconds(seconds: Optional[float], what: str) -> int:
    """A C timeout; None is 0, which C takes for its default."""
    if seconds is None:
        return 0
    # Also refuses what is not a number.
    if not 0 < seconds < 4e6:
        raise InvalidArgument(f"{what} is {seconds!r}; give seconds above 0 and below 4000000")
    return max(1, round(seconds * 1000))


def _setting_texts(settings: Settings | None) -> list[bytes]:
    if settings is None:
        return []
    if isinstance(settings, Mapping):
        settings = [f"{key}={_setting_value(value)}" for key, value in settings.items()]
    return [os.fsencode(text) for text in settings]


def _setting_value(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


class Context:
    """Settings, memory and threads.

    config_file  YAML settings; default: SHOAL_CONFIG_FILE, else none
    settings     {"SHOAL_KEY": value} or "SHOAL_KEY=value" texts, which win over the environment
    """

    _handle: int | None = None

    def __init__(
        self,
        config_file: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        texts = _setting_texts(settings)
        strings = _ffi.string_list(texts)
        options = _ffi.ContextOptions(
            config_file=None if config_file is None else os.fsencode(config_file),
            settings=strings,
            setting_count=len(texts),
        )
        handle = _ffi.new_handle()
        check(_ffi.lib.shoal_context_create(_ffi.byref(options), _ffi.byref(handle)))
        self._handle = handle.value

    @property
    def handle(self) -> int:
        """The C handle; InvalidArgument after close()."""
        if self._handle is None:
            raise InvalidArgument("the context is closed")
        return self._handle

    def close(self) -> None:
        """Release it. Busy while communicators or memory of it are left; twice is fine."""
        if self._handle is not None:
            check(_ffi.lib.shoal_context_destroy(self._handle))
            self._handle = None

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Whatever belongs to a context refers to it, so here nothing is left of it. In a forked
        # child this is refused, which is as well: it is the parent's.
        if self._handle is not None:
            _ffi.lib.shoal_context_destroy(self._handle)


_default: tuple[int, Context] | None = None
_default_lock = threading.Lock()


def default_context() -> Context:
    """The context that is shared by all who give none; a forked child gets its own."""
    global _default
    with _default_lock:
        if _default is None or _default[0] != os.getpid():
            _default = (os.getpid(), Context())
        return _default[1]
