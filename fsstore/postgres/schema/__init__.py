"""The tables: what a row holds of a record, what the tables are called, how they and the role of queries are made.

Stands on `connections`; knows nothing of who reads or writes rows.
"""
