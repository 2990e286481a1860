"""Factors: numbers of every symbol and session, computed from what was known before the session opened.

`terms` has what a pipeline is written with, `datasets` where its numbers come from, `pipeline` and `run` how it is computed.
"""
