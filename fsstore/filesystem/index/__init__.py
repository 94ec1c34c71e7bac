"""What answers filters without opening documents: the rows, the SQL over them, the file that holds them.

Stands on `log`, whose counters say when it is stale; knows nothing of who writes or asks.
"""
