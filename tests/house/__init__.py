"""How the house is built, measured: `python -m tests.house` prints the table."""
