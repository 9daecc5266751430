"""From files of rows to jobs: checked, sent once each, followed, exported. `reelbus batch` is its command line.

Reads: JSONL, CSV, Parquet, OpenAI Batch JSONL; jobs.state and jobs.finished for what became of a batch. Writes:
jobs.requested.<lane>, orders.requested. State: one checkpoint file per batch.
"""
