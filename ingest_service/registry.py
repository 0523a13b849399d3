"""Device ids and the keys under which the database knows them, remembered for as long as the process runs.

A key never changes, so what is remembered never goes stale.
"""

from collections.abc import Collection

from ingest_service.readings import KINDS, Kind
from wattstream.postgres import Pool
from wattstream.resources import read

_FIND = read("ingest_service.sql", "find_devices.sql")
_REGISTER = read("ingest_service.sql", "register_devices.sql")


class Registry:
    """The devices seen so far.

    Attributes:
        keys: for each kind, device ids, as their bytes in messages, to keys.
        ids: for each kind, keys to device ids.
    """

    def __init__(self) -> None:
        self.keys: dict[Kind, dict[bytes, int]] = {kind: {} for kind in KINDS}
        self.ids: dict[Kind, dict[int, str]] = {kind: {} for kind in KINDS}

    def remember(self, kind: Kind, device_id: str, key: int) -> None:
        """Remember a device that is registered."""
        self.keys[kind][device_id.encode()] = key
        self.ids[kind][key] = device_id

    def key(self, kind: Kind, device_id: str) -> int | None:
        """Return the key of a device, if it is remembered."""
        return self.keys[kind].get(device_id.encode())

    async def find(self, pool: Pool, kind: Kind, device_ids: Collection[str]) -> None:
        """Look up those of `device_ids` that are not remembered; those that are not registered stay unknown."""
        unknown = self._unknown(kind, device_ids)
        if not unknown:
            return
        async with pool.connection() as connection:
            cursor = await connection.execute(_FIND, {"kind": kind.number, "ids": unknown})
            for device_id, key in await cursor.fetchall():
                self.remember(kind, device_id, key)

    async def register(self, pool: Pool, kind: Kind, device_ids: Collection[str]) -> int:
        """Make sure that all of `device_ids` are registered; return how many are new."""
        await self.find(pool, kind, device_ids)
        unknown = self._unknown(kind, device_ids)
        if not unknown:
            return 0
        async with pool.connection() as connection:
            cursor = await connection.execute(_REGISTER, {"kind": kind.number, "ids": unknown})
            registered = cursor.rowcount
        await self.find(pool, kind, unknown)
        return registered

    def _unknown(self, kind: Kind, device_ids: Collection[str]) -> list[str]:
        return sorted({device_id for device_id in device_ids if self.key(kind, device_id) is None})
