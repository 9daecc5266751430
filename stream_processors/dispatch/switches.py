"""What operators have switched off: lanes, tenants and pools that get no further chunk, workers that get none. Pure.

A level, not an event: the last record of every key on scheduler.switches is what holds, whoever reads it when.
"""

from schemas.ids import switch_key
from schemas.work import Switch


class Switches:
    def __init__(self) -> None:
        self._off: dict[str, Switch] = {}
        self.turned_on_ms = 0
        """When one was last turned on again: what stood still until then is not late."""

    def put(self, key: str, switch: Switch | None) -> bool:
        """Take in the last record of a key, None for a tombstone. Whether that changed what is off."""
        before = self._off.pop(key, None)
        if switch is not None and switch.state == "off":
            self._off[key] = switch
        elif switch is not None:
            self.turned_on_ms = max(self.turned_on_ms, switch.at_ms)
        return (before is None) != (key not in self._off)

    def stopping(self, pool: str, lane: str, tenant: str) -> str:
        """What keeps the jobs of a tenant in a lane of a pool from getting chunks, in a few words; "" if nothing."""
        if self._off:
            for key in (switch_key("lane", lane), switch_key("tenant", tenant), switch_key("pool", pool)):
                if (switch := self._off.get(key)) is not None:
                    return f"{switch.kind} {switch.name} is paused"
        return ""

    def drained(self, worker_id: str) -> bool:
        """Is this worker to get nothing more?"""
        return bool(self._off) and switch_key("worker", worker_id) in self._off

    def __len__(self) -> int:
        return len(self._off)


ALL_ON = Switches()
"""Nothing is switched off; for a job that is looked at by itself."""
