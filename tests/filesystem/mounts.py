"""File systems that are mounted for a test: in memory, or a directory that a second mount shows read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def why_not(directory: Path) -> str:
    """Say why nothing can be mounted here; empty when it can."""
    if not sys.platform.startswith("linux"):
        return "mount(8) is used as on Linux"
    if os.geteuid() != 0:
        return "only root may mount"
    if shutil.which("mount") is None or shutil.which("umount") is None:
        return "there is no mount(8)"
    point = directory / "tried"
    point.mkdir(exist_ok=True)
    try:
        with in_memory(point), read_only(point, directory / "tried-too"):
            return ""
    except subprocess.CalledProcessError as error:
        return f"nothing can be mounted here: {error.stderr}"
    finally:
        point.rmdir()


def need(directory: Path) -> None:
    """Skip the test, with the reason, where nothing can be mounted."""
    if reason := why_not(directory):
        pytest.skip(reason)


@contextmanager
def in_memory(point: Path) -> Iterator[Path]:
    """Have a file system in memory mounted at a directory."""
    _run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(point))
    try:
        yield point
    finally:
        detach(point)


@contextmanager
def read_only(directory: Path, point: Path) -> Iterator[Path]:
    """Have a directory shown at another place, where nothing can be written."""
    point.mkdir(exist_ok=True)
    _run("mount", "--bind", str(directory), str(point))
    try:
        _run("mount", "-o", "remount,ro,bind", str(point))
        yield point
    finally:
        detach(point)
        point.rmdir()


def detach(point: Path) -> None:
    """Take what is mounted there away, also from those who have it open."""
    # a directory that is shown twice has the device of its parent, by which a mount is usually known
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if str(point) in mounts:
        _run("umount", "-l", str(point))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
