"""When what is kept of a file stands for it: the one rule of everything that remembers files.

Bytes, "examined" marks, rows of the index and the marks of those who watch are kept with the signature that their file
had. They stand for the file only if it still has that signature, and that signature is *sure*:

- What was read is sure if the file's last change was two seconds old when the reading began. Most clocks of files count
  in ticks: of 1 to 10 ms before Linux 6.13 and on ext2, of a second on ext4 with inodes of 128 bytes, of two on FAT. A
  file that is changed twice in a tick, or removed and made again with the same inode number, has the same signature
  again. And a write sets the time before it copies the bytes, so a file that changes at this moment has its last
  signature too early, whatever the clock: of 60 writes of 8 MB in place, 11 were read in part under it.
- What was placed (written as another file, and looked at once it had its name) is sure at once where the clock shows
  every change, since nobody else can have begun to write it. Anywhere else it has to be read again later.

The clock shows every change where it is *multigrain* (Linux, Documentation/filesystems/multigrain-ts.rst): a file that
was looked at gets a time of its own with its next change, to the nanosecond. Its removal is such a change too, and no
file of the system gets a time before that one from then on: so a file with a reused inode number differs. That the
times come closer than ticks proves only that the kernel can do that. On ext2 they sometimes do (150 of 2 000 trials
while another file system was busy), since such a time moves the clock of all file systems on. So the type must be one
of those that are known to be multigrain, and the times of its files must be seen to come closer.

A signature speaks of one device. Where another file system is mounted over a store that is open, no file has a
signature that a file had before, and none is sure as placed (`files.Tree`).

Not seen is what changes a file and leaves its times: stores through a memory mapping after the first one, and a clock
that is set back to the nanosecond. On a file system that another machine serves, its clock counts, which may lag.
"""

from __future__ import annotations

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.system import filesystem_type

RACY_NS = 2_100_000_000
"""How long after its last change a file may change again and keep its signature: two seconds on FAT, and some ticks."""

_MULTIGRAIN = {"btrfs", "ext4", "tmpfs", "xfs"}


class Trust:
    """Which signatures are sure, for one open store; its writer finds out about the clock."""

    def __init__(self) -> None:
        # as long as nobody knows better
        self.clock_is_fine = False

    def learn_clock(self, tree: Tree, name: str) -> None:
        """Find out about the clock, by a file of that name, which is made and left to the caller. Raises OSError."""
        self.clock_is_fine = shows_every_change(tree, name)

    def seen_ns(self, placed: Signature) -> int:
        """Return as of when a file that was placed has been seen: then `is_sure` says whether it can be believed."""
        is_shown = self.clock_is_fine and not placed.is_elsewhere
        return placed.changed_ns + (RACY_NS if is_shown else 0)


def is_sure(signature: Signature, seen_ns: int) -> bool:
    """Whether what was seen of a file, from that time on, stands for it as long as it has that signature."""
    return is_settled(signature.changed_ns, seen_ns)


def is_settled(changed_ns: int, seen_ns: int) -> bool:
    """Whether a change was so long ago, when it was seen, that the next one shows another time."""
    return seen_ns - changed_ns >= RACY_NS


def shows_every_change(tree: Tree, name: str) -> bool:
    """Whether each change of a file that was looked at shows another time; makes a file to see it.

    Tests that want the other kind of clock put another function here.
    """
    return filesystem_type(tree.root) in _MULTIGRAIN and tree.counts_finely(name)
