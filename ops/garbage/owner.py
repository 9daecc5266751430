"""Whose store this is. Videos that an installation does not know look like orphans to it, and are another's property.

The first collection writes an object that names its cluster and prefix; another installation then deletes nothing here.
"""

import json

from ops.bus import clients
from ops.settings import Settings
from ops.storage.store import ObjectMissing, Store
from schemas.errors import Fatal

KEY = "garbage/owner.json"


def check(settings: Settings, store: Store, *, write: bool, take: bool = False) -> None:
    """Raise Fatal when another installation collects here. write: become the owner when there is none; take: in any
    case."""
    ours = {"cluster": _cluster(settings), "prefix": settings.prefix}
    if take:
        store.delete(KEY)
    if write or take:
        store.put(KEY, json.dumps(ours).encode(), "application/json")
    try:
        theirs = json.loads(store.read(KEY))
    except ObjectMissing:
        return
    if theirs != ours:
        raise Fatal(
            f"the store {settings.store} is kept tidy by prefix {theirs.get('prefix')!r} of Kafka cluster "
            f"{theirs.get('cluster')!r}, not by {ours['prefix']!r} of {ours['cluster']!r}: nothing is deleted. Give "
            "each installation a store prefix of its own; if this one has followed the other, `reelbus gc --take-over`"
        )


def _cluster(settings: Settings) -> str:
    return str(clients.reached(settings).list_topics(timeout=30).cluster_id)
