"""What a strategy asks for its data while it runs: bars as they exist at the clock of its simulation.

Nothing here stores anything; rows come from `reading`.
"""
