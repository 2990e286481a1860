"""Pure checks on frames: exact decimals, bar rules, gaps, fingerprints. No I/O: frames in, verdicts out."""
