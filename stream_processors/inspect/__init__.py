"""inspect: looks at frames of every rendered chunk before anything can be released (principle 5).

Reads   chunks.rendered and its retry topics (ChunkRendered), and the chunk's object from the store.
Writes  chunks.inspected (ChunkInspected); chunks.rendered.retry.<delay> for a record that fails while others get
        through.
State   none but a cache of verdicts by content, so a chunk that many jobs reuse is looked at once per process.
Policy  policy.toml in this folder: which providers, their thresholds, how many frames.

Fails closed: a provider that cannot answer delays the chunk, it never lets it through.
"""
