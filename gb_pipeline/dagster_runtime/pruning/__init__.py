"""This package removes from Dagster's history what grows without use, and nothing that its pages are made of.

Dagster's own way of removing a run removes its events with it, and with them the state of every partition that it made.
"""
