"""The lake against what a user would pick instead, on identical and checked work.

    python -m benchmarks peers                              everything
    python -m benchmarks peers --work W1,W2.append          some of it: names, or what they begin with
    python -m benchmarks peers --samples 9 --large          more samples, and 500 symbols x 10 years

What keeps it fair:

* One truth, 64-bit integers at 1e-8. Each library gets it, outside the timer, in the form that its documentation asks for.
* One process for each contender. The clock and the processor time of all its threads are taken inside of it.
* Contenders take turns (A B C, B C A, ...). Before each sample: garbage collection and `sync`. Medians are reported, and a
  first sample of each, which pays for imports, is checked and not counted.
* After each sample the whole store is read back and compared with the truth value by value, outside the timer.
* Peers are not asked to validate, to compute fingerprints, to keep history or to survive a power cut. Ours does all of that.

Peers live in an environment of their own (`environment`), as their pins and ours exclude each other.
"""
