"""ops.bus.transaction: records and offsets together. Any trouble ends the process."""

from collections.abc import Mapping, Sequence

from schemas.records import Incoming, Outgoing
from tests.simulation.groups import Consumer, Effects
from tests.simulation.log import Place
from tests.simulation.process import Process


class Transactions:
    """group: name of the group whose offsets it carries; `member` is None where partitions are assigned by hand."""

    def __init__(self, process: Process, slot: str, group: str, member: Consumer | None) -> None:
        self._process, self._log, self._group = process, process.world.log, group
        self.member = member
        self._id = f"{process.stage}-{slot}"
        self._epoch = self._log.init_transactions(self._id)

    def commit(self, outs: Sequence[Outgoing], offsets: Mapping[Place, int], read: Sequence[Incoming]) -> Effects:
        """read: the records that are done with once this is committed.

        The producer's queue is flushed by the commit at the latest: with `reverse` the broker has the offsets before
        the records.
        """
        process, log = self._process, self._log
        txn = log.begin(self._id, self._epoch)
        early = len(outs) if not process.reverse else len(outs) // 2
        for out in outs[:early]:
            process.produce(out, txn)
        yield f"{process.stage}.txn produced"
        if offsets:
            if self.member is not None:
                self.member.group.check(self.member)
            log.add_offsets(txn, self._group, offsets)
            yield f"{process.stage}.txn offsets"
        for out in outs[early:]:
            process.produce(out, txn)
        if early < len(outs):
            yield f"{process.stage}.txn flushed"
        log.commit(txn)
        for record in read:
            process.done(record, self._group)
        yield f"{process.stage}.txn committed"
