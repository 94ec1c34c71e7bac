"""Where changes come from: events of the system, looks at the files, and the thread that joins them.

Stands on `read`; nobody but `storage` knows of it.
"""
