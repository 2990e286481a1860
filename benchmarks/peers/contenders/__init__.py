"""One module for each contender, with a `contender()` that makes it; siblings do not import each other."""
