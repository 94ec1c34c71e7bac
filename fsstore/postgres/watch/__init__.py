"""Who follows what commits have changed: the statements, the thread, and what a watch asks of it.

Stands on `commits`; nobody but `storage` knows of it.
"""
