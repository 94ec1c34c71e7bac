"""Real file systems in images on loop devices; only root may mount them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_BYTES = 32 << 20
_UNMOUNT_TRIES = 50

EXT2 = ("mkfs.ext2", "-q", "-F")
OLD_EXT4 = ("mkfs.ext4", "-q", "-F", "-I", "128", "-J", "size=4")
"""With inodes of 128 bytes, which count in seconds."""

COARSE = {"ext2": EXT2, "ext4 with inodes of 128 bytes": OLD_EXT4}


@contextmanager
def mounted(directory: Path, format: Sequence[str]) -> Iterator[Path]:
    """Mount a new file system below a directory; whatever happens, no mount and no loop device stay.

    Skips the test, with the reason, where that cannot be done.
    """
    if os.geteuid() != 0:
        pytest.skip("only root may mount an image")
    missing = [tool for tool in (format[0], "mount", "umount") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"there is no {missing[0]}")
    image, place = directory / "image", directory / "mounted"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(_BYTES)
    try:
        _run(*format, str(image))
        _run("mount", "-o", "loop", str(image), str(place))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{format[0]} and mount do not work here: {error.stderr.decode(errors='replace')}")
    try:
        yield place
    finally:
        _unmount(place)


def bind(source: Path, target: Path) -> None:
    """Mount a directory over another one."""
    _run("mount", "--bind", str(source), str(target))


@contextmanager
def overlaid(lower: Path, upper: Path, directory: Path) -> Iterator[Path]:
    """Mount a directory with what is changed in it kept on another file system, as containers do."""
    for each in ("upper", "work"):
        (upper / each).mkdir()
    place = directory / "overlaid"
    place.mkdir()
    try:
        layers = f"lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work"
        _run("mount", "-t", "overlay", "-o", layers, "overlay", str(place))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"overlays do not work here: {error.stderr.decode(errors='replace')}")
    try:
        yield place
    finally:
        _unmount(place)


def unbind(target: Path) -> None:
    """Take away what was mounted last over a directory."""
    _unmount(target)


def _unmount(place: Path) -> None:
    for _ in range(_UNMOUNT_TRIES):
        try:
            _run("umount", str(place))
        except subprocess.CalledProcessError:
            # something still has a file open: what a test leaves behind ends soon
            time.sleep(0.1)
        else:
            return
    _run("umount", "--lazy", str(place))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
