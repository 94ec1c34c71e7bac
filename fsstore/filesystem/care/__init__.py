"""Looking after a store: what is wrong with it, and setting it right. Stands on `read`; only `storage` knows of it."""
