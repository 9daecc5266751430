"""Content credentials of the callers' pictures, as intake kept them: they go on in what is made of the pictures."""

import logging
from collections.abc import Mapping

from ops.media.credentials import MAX_BYTES
from ops.storage.store import ObjectCorrupt, ObjectMissing, Store
from schemas.ids import credentials_object_key
from schemas.plan import Plan

log = logging.getLogger(__name__)

Carried = Mapping[int, bytes]
"""By shot, as `ops.media.credentials` makes them."""
TOTAL_BYTES_MAX = 4 << 20
"""Of all pictures of a job; each of its three files holds them."""


def carried(store: Store, plan: Plan) -> Carried:
    """Those of a plan's pictures. What is gone, another one than intake kept, or too much, is left out and logged: the
    caller's video does not wait for it. Raises Transient when the store gives no answer."""
    found: dict[str, bytes] = {}
    for each in plan.inputs:
        if not each.credentials or each.credentials in found:
            continue
        key = credentials_object_key(plan.request.tenant, each.chunk)
        info = store.head(key)
        if info is None or info.sha256 != each.credentials or info.size_bytes > MAX_BYTES:
            log.warning("mux: %s: the credentials of a picture, %s, are gone or others", plan.job, key)
        elif sum(map(len, found.values())) + info.size_bytes > TOTAL_BYTES_MAX:
            log.warning("mux: %s: the credentials of a picture, %s, are too much for one job", plan.job, key)
        else:
            try:
                found[each.credentials] = store.read(key)
            except (ObjectMissing, ObjectCorrupt) as exc:
                log.warning("mux: %s: the credentials of a picture are left out: %s", plan.job, exc)
    return {each.shot: found[each.credentials] for each in plan.inputs if each.credentials in found}
