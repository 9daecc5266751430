"""render: turns chunk tasks into chunk objects, on one device.

reads   chunks.<pool> (ChunkTask), group <prefix>.render.<pool>; the predecessor's object for a chained chunk;
        chunks.withdrawn (ChunkWithdrawn), all of it, without a group
writes  the chunk's object, then chunks.rendered (ChunkRendered), then the offset; workers.state (WorkerState)
state   none that outlives the process: a task without a committed offset comes again, and a chunk whose object exists
        is reported as reused without touching the device

The parent process polls Kafka and never waits; a child process owns the device and dies with its parent.
"""
