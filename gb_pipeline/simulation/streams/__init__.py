"""This package has the vendors' websockets of the simulated market: one module for each dialect, and what all of them share.

`session` is what a dialect is, `hub` holds the open connections, `stream_faults` is what can happen to single messages.
"""
