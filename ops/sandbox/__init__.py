"""Foreign bytes are handled in child processes that can do little: limits, no network, no files, a short list of calls.

child.py starts one and reads its answer, bounded in time and size; lockdown.py is what the child does to itself.
"""
