"""The way of a commit: drafted, sent in one or two exchanges, and known to be true though its answer is lost.

Stands on `schema`; knows nothing of who watches.
"""
