"""The yardstick: fsstore next to the raw file system, in interleaved rounds of one run.

`python -m tests.benchmarks` prints operations a second and, what counts on a noisy machine, their ratio to the
raw limit.
"""
