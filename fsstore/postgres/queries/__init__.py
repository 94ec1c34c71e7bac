"""SQL of callers: taken apart, and run with rights for one view. Stands on `schema`; knows nothing of lists."""
