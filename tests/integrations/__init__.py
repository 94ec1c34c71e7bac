"""The frameworks' own tests, run against fsstore: `python -m tests.integrations`."""
