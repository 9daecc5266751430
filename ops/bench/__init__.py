"""Benches: each module measures one claim and returns its figures."""
