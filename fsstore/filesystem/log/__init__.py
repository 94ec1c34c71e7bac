"""What makes a commit true: the lock, the counters, the redo log, the checkpoint and the recovery.

Stands on `documents`; knows nothing of the index or of who writes.
"""
