"""What collectors keep, as Dagster shows it: `feeds` are its assets, `sensor` tells what was committed, `checks` what is
covered, and `healing` has venues asked for what is not.

Collectors run beside Dagster and need nothing of it; here is only told what they have stored.
"""
