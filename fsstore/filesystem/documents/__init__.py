"""One document each: its name, its bytes, what is kept of it in memory, and the skeleton of a store around it.

Owns everything between an id and a file. Stands on `disk`; knows nothing of the log or the index.
"""
