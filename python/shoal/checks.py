"""Numbers that C takes in fewer bits than Python has.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

from shoal.errors import InvalidArgument

U32_MAX = (1 << 32) - 1
U64_MAX = (1 << 64) - 1


def whole(value: int, what: str, largest: int = U64_MAX, least: int = 0) -> int:
    """`value`, or InvalidArgument when it is not between the two: ctypes would cut it without a
    word."""
    if not least <= value <= largest:
        raise InvalidArgument(f"{what} is {value}, not between {least} and {largest}")
    return value
