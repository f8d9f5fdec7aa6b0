"""Which members hold which virtual shards of state.

    held = shoal.place([(id, host), ...], shards=1024)          # at the beginning
    held = shoal.place(members_now, 1024, holders=held.holders)  # after each change of members

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import array
from typing import Iterable, NamedTuple, Optional

from shoal import _ffi
from shoal.context import check
from shoal.errors import InvalidArgument

_U64_MAX = (1 << 64) - 1


class Placement(NamedTuple):
    """Who is to hold what."""

    holders: array.array[int]  # ids: replicas + 1 for each shard, its owner first; 0: nobody
    copies: int  # holders that did not hold their shard before, though somebody still does
    lost: int  # shards none of whose holders is left
    owners: int  # shards whose owner changed

    def of(self, shard: int, replicas: int = 1) -> list[int]:
        """The holders of a shard, its owner first."""
        width = replicas + 1
        return [one for one in self.holders[shard * width : (shard + 1) * width] if one]


def place(
    members: Iterable[tuple[int, int]],
    shards: int,
    replicas: int = 1,
    holders: Optional[Iterable[int]] = None,
) -> Placement:
    """Place virtual shards, each with `replicas` copies on other hosts where there are any.

    members  (id, host) of each; ids are not 0, members with equal hosts fail together
    holders  who holds what now, as an earlier placement said, members or not; None: nobody
    """
    if not 0 < shards <= _ffi.PLACE_SHARDS_MAX or not 0 <= replicas <= _ffi.PLACE_REPLICAS_MAX:
        raise InvalidArgument(
            f"{shards} shards with {replicas} replicas; there may be 1 to {_ffi.PLACE_SHARDS_MAX}, "
            f"with 0 to {_ffi.PLACE_REPLICAS_MAX}"
        )
    listed = [(one, host) for one, host in members]
    if not all(0 <= number <= _U64_MAX for pair in listed for number in pair):
        raise InvalidArgument("ids and hosts are numbers of 64 bits")
    entries = shards * (replicas + 1)
    table = array.array("Q", bytes(8 * entries) if holders is None else holders)
    if len(table) != entries:
        raise InvalidArgument(f"holders has {len(table)} entries, not {entries}")
    options = _ffi.PlaceOptions(
        shards=shards,
        replicas=replicas,
        members=_ffi.member_list(listed),
        member_count=len(listed),
    )
    options.struct_size = _ffi.sizeof(options)
    result = _ffi.PlaceResult()
    result.struct_size = _ffi.sizeof(result)
    address = _ffi.writable_address(table)
    check(_ffi.lib.shoal_place(_ffi.byref(options), address, _ffi.byref(result)))
    return Placement(table, result.copies, result.lost, result.owners)
