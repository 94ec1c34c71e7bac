"""The fault campaign: `pytest -m campaign`. It attacks the promises of the README, and counts what breaks.

Each scenario reports how often it ran and what it found wrong; the run ends with a table. What cannot be tried on a
machine is skipped with its reason.
"""
