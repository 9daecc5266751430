"""Who is next: deficit round robin over lanes, fair queueing over tenants. Pure.

Lanes: M. Shreedhar, G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (1996), in device-seconds.
Tenants: start-time fair queueing (P. Goyal et al., 1996): the tenant with the smallest virtual time goes next.
"""

from collections.abc import Collection

from schemas.request import LANES, Lane


class LaneShares:
    """Deficit round robin. A lane that has nothing to do keeps no credit, so it cannot save up a burst."""

    def __init__(self, weights: dict[Lane, float], quantum_s: float = 1.0) -> None:
        """quantum_s: device-seconds that a weight of 1 earns per round."""
        self._weights = weights
        self._quantum_s = quantum_s
        self._credit_s: dict[Lane, float] = dict.fromkeys(LANES, 0.0)
        self._turn = 0
        self._fresh = True

    def pick(self, costs_s: dict[Lane, float]) -> Lane:
        """The lane to serve next. costs_s: cost of the next chunk of every lane that has one; must not be empty."""
        for lane in LANES:
            if lane not in costs_s:
                self._credit_s[lane] = 0.0
        while True:
            lane = LANES[self._turn]
            if lane in costs_s:
                if self._fresh:
                    self._credit_s[lane] += self._weights[lane] * self._quantum_s
                    self._fresh = False
                if self._credit_s[lane] >= costs_s[lane]:
                    return lane
            self._turn = (self._turn + 1) % len(LANES)
            self._fresh = True

    def charge(self, lane: Lane, cost_s: float) -> None:
        """Book what was dispatched."""
        self._credit_s[lane] -= cost_s


class TenantShares:
    """Virtual time per tenant of one lane: device-seconds served, divided by weight."""

    def __init__(self) -> None:
        self._virtual_s: dict[str, float] = {}
        self._floor_s = 0.0

    def virtual_s(self, tenant: str) -> float:
        """A tenant that was away starts at the present: it gets no credit for time it did not ask for."""
        return max(self._virtual_s.get(tenant, 0.0), self._floor_s)

    def pick(self, tenants: Collection[str]) -> str:
        """The tenant to serve next; ties go by name."""
        return min(tenants, key=lambda t: (self.virtual_s(t), t))

    def charge(self, tenant: str, cost_s: float, weight: float) -> None:
        """Book what was dispatched, and move the present on."""
        start_s = self.virtual_s(tenant)
        self._floor_s = max(self._floor_s, start_s)
        self._virtual_s[tenant] = start_s + cost_s / weight
        if len(self._virtual_s) > 10_000:
            self._virtual_s = {t: v for t, v in self._virtual_s.items() if v > self._floor_s}
