"""Who is next: deficit round robin over lanes, fair queueing over tenants and their accounts. Pure.

Lanes: M. Shreedhar, G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (1996), in device-seconds.
Tenants, and accounts of a tenant: start-time fair queueing (P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queueing: A
Scheduling Algorithm for Integrated Services Packet Switching Networks", 1996), hierarchical as there in section 3.
What is served out of turn (because its model is warm, or to fill a batch) is paid for later, up to DEBT_S: beyond that
it got what nobody else could have used.
"""

from math import floor

from schemas.request import LANES, Lane

DEBT_S = 600.0
"""Most device-seconds, per unit of weight, that a lane or tenant has to pay back."""


class LaneShares:
    """Deficit round robin. A lane that has nothing to do keeps no credit, so it cannot save up a burst."""

    def __init__(self, weights: dict[Lane, float], quantum_s: float = 1.0) -> None:
        """quantum_s: device-seconds that a weight of 1 earns per round."""
        self.weights = weights
        self._quantum_s = quantum_s
        self._credit_s: dict[Lane, float] = dict.fromkeys(LANES, 0.0)
        self._turn = 0
        self._fresh = True

    def pick(self, costs_s: dict[Lane, float]) -> Lane:
        """The lane to serve next. costs_s: cost of the next chunk of every lane that has one; must not be empty."""
        for lane in LANES:
            if lane not in costs_s:
                self._credit_s[lane] = 0.0
        turns = 0
        while True:
            lane = LANES[self._turn]
            if lane in costs_s:
                if self._fresh:
                    self._credit_s[lane] += self.weights[lane] * self._quantum_s
                    self._fresh = False
                if self._credit_s[lane] >= costs_s[lane]:
                    return lane
            self._turn = (self._turn + 1) % len(LANES)
            self._fresh = True
            turns += 1
            if turns == len(LANES):
                self._skip(costs_s)

    def _skip(self, costs_s: dict[Lane, float]) -> None:
        """Rounds in which no lane can earn enough, all at once: a chunk may cost a thousand quanta."""
        lacking = (
            (cost_s - self._credit_s[lane]) / (self.weights[lane] * self._quantum_s) for lane, cost_s in costs_s.items()
        )
        if (rounds := floor(min(lacking)) - 1) > 0:
            for lane in costs_s:
                self._credit_s[lane] += rounds * self.weights[lane] * self._quantum_s

    def credit_s(self, lane: Lane) -> float:
        """Device-seconds that a lane has earned and not had; below 0 it has had more than its share."""
        return self._credit_s[lane]

    def charge(self, lane: Lane, cost_s: float) -> None:
        """Book what was dispatched."""
        self._credit_s[lane] = max(self._credit_s[lane] - cost_s, -DEBT_S * self.weights[lane])


class Shares:
    """Virtual time of each of those who share: device-seconds served, divided by weight."""

    def __init__(self) -> None:
        self._virtual_s: dict[str, float] = {}
        self._floor_s = 0.0

    def virtual_s(self, name: str) -> float:
        """One that was away starts at the present: it gets no credit for time it did not ask for."""
        virtual_s = self._virtual_s.get(name, 0.0)
        return virtual_s if virtual_s > self._floor_s else self._floor_s

    def charge(self, name: str, cost_s: float, weight: float, in_turn: bool = True) -> None:
        """Book what was dispatched. In turn, it moves the present on; out of turn, those before it keep their place."""
        start_s = self.virtual_s(name)
        if in_turn:
            self._floor_s = start_s  # never below the floor as it was
            self._virtual_s[name] = start_s + cost_s / weight
        else:
            self._virtual_s[name] = max(start_s, min(start_s, self._floor_s + DEBT_S) + cost_s / weight)
        if len(self._virtual_s) > 10_000:
            self._virtual_s = {n: v for n, v in self._virtual_s.items() if v > self._floor_s}
