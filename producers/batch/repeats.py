"""Finds job ids that come twice, in 24 to 48 bytes of memory an id. Pure."""

from array import array

FIRST_SLOTS = 1 << 12


class Repeats:
    """A hash table of 64-bit hashes of ids and the places where they were seen first.

    Ids with the same hash are taken for the same: among ten million ids that happens once in 400,000 runs.
    """

    def __init__(self) -> None:
        self._hashes = array("Q", bytes(8 * FIRST_SLOTS))
        self._places = array("Q", bytes(8 * FIRST_SLOTS))
        self._count = 0

    def first(self, job_id: str, place: int) -> int | None:
        """Where the id was seen before, None when it is new; then it is remembered with its place."""
        if 3 * self._count >= 2 * len(self._hashes):
            self._grow()
        name = (hash(job_id) & 0xFFFF_FFFF_FFFF_FFFF) or 1
        slot = self._slot(name)
        if self._hashes[slot]:
            return self._places[slot]
        self._hashes[slot], self._places[slot] = name, place
        self._count += 1
        return None

    def _slot(self, name: int) -> int:
        most = len(self._hashes) - 1
        slot = name & most
        while self._hashes[slot] not in (0, name):
            slot = (slot + 1) & most
        return slot

    def _grow(self) -> None:
        hashes, places = self._hashes, self._places
        self._hashes, self._places = (array("Q", bytes(16 * len(hashes))) for _ in range(2))
        for name, place in zip(hashes, places, strict=True):
            if name:
                slot = self._slot(name)
                self._hashes[slot], self._places[slot] = name, place
