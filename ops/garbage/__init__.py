"""Garbage collection: objects that no job needs any more, and what killed processes left on this machine's disks."""
