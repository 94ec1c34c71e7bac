"""What makes a commit true: the lock, the counters, the redo log, the checkpoint, the recovery, and who is present.

Stands on `documents`; knows nothing of the index or of who writes.
"""
