"""Connections to a server, each used by one call at a time, and its refusals as errors of ours.

The lowest part; knows nothing of tables.
"""
