"""The prompt policy: what texts may not say. Shared by moderate, which judges the texts of requests, and inspect, which
judges text that is seen in frames; the policy file and its packs lie with moderate.

matcher.py, normalise.py and encodings.py find terms; pack.py, bounds.py and own_rules.py say which refuse; policy.py
puts them together, all pure. semantic/ is the check of meaning. loading.py reads the files.
"""
