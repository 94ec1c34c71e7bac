"""The yardstick: fsstore next to its peers, in interleaved rounds of one run.

    pip install -e '.[bench]'
    python -m tests.benchmarks                      a few minutes: 8 KB documents, 1 000 of them for lists
    python -m tests.benchmarks --full --json results.json --plot comparison.svg
                                                    hours: 1, 8 and 64 KB; lists up to 100 000
    python -m tests.benchmarks.growth --scale 1000,10000,100000
                                                    how cost grows with the number of documents
    python -m tests.benchmarks.faces                the synchronous face, the asynchronous one, plain files and sqlite3
    python -m tests.benchmarks --only fsstore --workloads save --seconds 5
                                                    one workload, nothing else: for py-spy, cProfile, strace

It prints medians and, what counts on a noisy machine, ratios within a round with their spread; absolute figures of two
runs say little about each other. `peers` has a class for each implementation, `workloads` what is done with them.

What makes it fair:
- Every peer gets the same sessions as dicts, and what it does to store and to return them is inside its time
  (`Store.timed` says what that is).
- What is not synced is compared with what is not synced, durable with durable.
- Every peer has its turn in every round, and each round begins with another one.
- Every trial that writes has a directory of its own, and nothing is deleted before the end of the run: on ext4,
  creating files is up to ten times slower where many were deleted in the last minutes. Replacing a file there flushes
  it, so saving new sessions and saving over existing ones are separate workloads.
- After its timed part, each trial checks that the work was really done.
"""
