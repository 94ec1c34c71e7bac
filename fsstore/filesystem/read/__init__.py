"""Reads that wait for something, and reads of many documents. Stands on `open_store`; writes nothing itself."""
