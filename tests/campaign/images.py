"""File systems of our own: in an image, on a loop device, mounted for a while. Only root may have them.

What cannot be had is said by `why_not`. A test that needs an image has the mark `needs_root` and fails without:
whoever is not root leaves these tests out by name, `-m "campaign and not needs_root"`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BYTES = 64 << 20
_EXT4 = ("mkfs.ext4", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0")
FORMATS: dict[str, tuple[str, ...]] = {
    "ext4": _EXT4,
    # no room for more than whole seconds in an inode of 128 bytes
    "ext4 with small inodes": (*_EXT4, "-I", "128"),
    # its clock moves with the system's tick, since it has no times of several grains; blocks of a page hold large files
    "ext2": ("mkfs.ext2", "-b", "4096"),
}
_TOOLS = ("mkfs.ext4", "mkfs.ext2", "mount", "umount", "losetup", "sync")
_UNMOUNT_TRIES = 50


class Image:
    """One file system, and where it is mounted. `options` are for mount(8)."""

    def __init__(self, directory: Path, form: str = "ext4", *, options: str = "") -> None:
        self._image = directory / "image"
        self.mount = directory / "mount"
        self._format = FORMATS[form]
        self._type = form.split(maxsplit=1)[0]
        self._options = ",".join(filter(None, ("loop", options)))

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Make it and have it mounted; whatever happens, no mount and no loop device stay."""
        with self._image.open("wb") as image:
            image.truncate(_BYTES)
        _run(*self._format, "-q", "-F", str(self._image))
        self.mount.mkdir()
        try:
            self.attach()
            yield self.mount
        finally:
            if self.mount.is_mount():
                self.detach()
            self.mount.rmdir()
            self._image.unlink()

    def attach(self) -> None:
        """Mount it; its journal is replayed. The loop device goes with the mount."""
        _run("mount", "-t", self._type, "-o", self._options, str(self._image), str(self.mount))

    def sync(self) -> None:
        """Bring all that is written to the disk, as the system does by itself after a while."""
        _run("sync", "--file-system", str(self.mount))

    def come_back(self) -> None:
        """Take the mount away under those who use it, who keep what they have open, and mount it again.

        As a medium that was pulled out: it comes back as another device.
        """
        _run("umount", "-l", str(self.mount))
        device = _run("losetup", "--find", "--show", str(self._image))
        _run("mount", "-t", self._type, device, str(self.mount))
        # when the mount goes
        _run("losetup", "--detach", device)

    def detach(self) -> None:
        """Take the mount away, once those who were killed have let go of it."""
        for _ in range(_UNMOUNT_TRIES):
            try:
                _run("umount", str(self.mount))
            except subprocess.CalledProcessError:
                time.sleep(0.1)
            else:
                return
        _run("umount", "-l", str(self.mount))


def why_not(directory: Path) -> str:
    """Say why no image can be mounted here; empty when it can."""
    if not sys.platform.startswith("linux"):
        return "images are mounted on Linux alone"
    if os.geteuid() != 0:
        return "only root may mount an image"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"there is no {missing[0]}"
    try:
        with Image(directory).mounted():
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"an image cannot be mounted here: {error}"


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
