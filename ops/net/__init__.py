"""Calling addresses that a stranger wrote: which may be called at all, and dialling only what was checked."""
