"""dispatch: the scheduler. One state machine per job; chunks go to idle workers just in time.

reads   plans.ready.<lane>, chunks.inspected, jobs.control, reviews.decided (offsets in its transactions); workers.state
        (from the end); scheduler.switches, tenants.quotas (from their beginning)
writes  chunks.<pool>, mux.tasks, jobs.events, reviews.open, dispatch.state, usage.ledger, all in one transaction with
        the offsets
state   one row per job in memory and in dispatch.state (compacted); one active process, a stand-by takes over
"""
