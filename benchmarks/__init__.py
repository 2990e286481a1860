"""What the lake costs against what a user would write by hand.

    python -m benchmarks             all of them
    python -m benchmarks reading     one of them
    python -m benchmarks peers       against other libraries, on identical and checked work (see `benchmarks.peers`)

Belongs here: measurements through the public API, one module each with a `measure()` that yields `Measurement`s; a module
that is here is found and run. Read the ratios: both sides of each are measured in turn in one process, so that they mean
the same on a busy machine. Does not belong here: assertions (tests have those).
"""
