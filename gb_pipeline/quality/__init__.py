"""Pure checks on frames: exact decimals, rules of bars, gaps and fingerprints. Nothing here does I/O."""
