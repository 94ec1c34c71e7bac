from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fsstore.filesystem.disk.system import (
    NO_BOOT_ID,
    boot_id,
    filesystem_type,
    refuses_writing,
    unavailable,
)


def nothing_to_read(*_: object) -> str:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def test_where_there_is_no_name_of_a_boot_it_is_called_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert boot_id() == boot_id()
    monkeypatch.setattr(Path, "read_text", nothing_to_read)
    assert boot_id() == NO_BOOT_ID


MOUNTS = r"""rootfs / rootfs rw 0 0
/dev/sda1 / ext4 rw,relatime 0 0
nas:/export /mnt nfs4 rw 0 0
tmpfs /mnt/local tmpfs rw 0 0
nas:/x /mnt/two\040words cifs rw 0 0
nas:/z /mnt/grün smb3 rw 0 0
nas:/odd /mnt/{odd} 9p rw 0 0
""".replace("{odd}", "\udcff")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/store", "ext4"),
        ("/mnt", "nfs4"),
        ("/mnt/store", "nfs4"),
        ("/mnt/local/store", "tmpfs"),
        ("/mnt/localized", "nfs4"),
        ("/mnt/two words/store", "cifs"),
        ("/mnt/gr\u00fcn/store", "smb3"),
        ("/mnt/\udcff/store", "9p"),
    ],
)
def test_the_innermost_mount_tells_the_type_of_the_file_system(
    monkeypatch: pytest.MonkeyPatch, path: str, kind: str
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_: MOUNTS)

    assert filesystem_type(Path(path)) == kind


def test_a_system_without_a_table_of_mounts_tells_no_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", nothing_to_read)

    assert filesystem_type(Path("/")) == ""


def test_an_error_of_the_system_becomes_one_of_the_store() -> None:
    error = unavailable(OSError(errno.ENOSPC, "No space left", "/store/aa/file"), "/store", outcome="not applied")

    assert (error.path, error.errno, error.reason) == ("/store/aa/file", errno.ENOSPC, "No space left")
    assert error.outcome == "not applied"
    assert (unavailable(OSError(), "/store").path, unavailable(OSError(), "/store").reason) == ("/store", "OSError")


@pytest.mark.parametrize(("number", "refuses"), [(errno.EROFS, True), (errno.EACCES, True), (errno.ENOSPC, False)])
def test_a_medium_that_can_not_be_written_is_told_from_one_that_is_full(number: int, *, refuses: bool) -> None:
    assert refuses_writing(OSError(number, os.strerror(number))) is refuses
