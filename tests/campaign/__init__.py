"""The fault campaign: `pytest -m campaign`. It attacks the promises of the README, and counts what breaks.

Each scenario reports how often it ran and what it found wrong; the run ends with a table. What cannot be tried on a
system is skipped with its reason. What only root may do has the mark `needs_root`, and fails elsewhere:
`-m "campaign and not needs_root"` leaves it out.

Two things that change what the engine may believe run through all of it:

- the clock of files: `conftest.ground` gives one that is as fine as the system's, one that was made coarse (`clocks`),
  and those of ext2 and of ext4 with small inodes (`images`);
- whether the system was started anew after a cut, or only the medium went: `looking.beginning`.
"""
