"""The way of a commit: drafted, staged, logged, placed, and passed on to the index, in one thread.

Stands on `index` and everything below; nobody below knows of it.
"""
