from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.disk.system import (
    NO_BOOT_ID,
    boot_id,
    filesystem_type,
    refuse_file,
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


# -- what is said of an error -----------------------------------------------------------------------------------------


def refusal(path: Path, number: int = errno.EACCES) -> StorageUnavailableError:
    return unavailable(OSError(number, os.strerror(number), str(path)), "the store")


@pytest.mark.parametrize(("named", "path"), [("a.json", "/s/3f/a.json"), (b"a.json", "/s/3f/a.json")])
def test_a_file_that_was_opened_by_its_bare_name_is_named_in_full(named: Any, path: str) -> None:
    error = unavailable(OSError(errno.EIO, "Input/output error", named), path)

    assert (error.path, error.reason) == (path, "Input/output error")


def test_a_bare_name_of_another_file_is_kept_beside_the_path() -> None:
    error = unavailable(OSError(errno.EIO, "Input/output error", "a.json"), "/s")

    assert (error.path, error.reason) == ("/s", "a.json: Input/output error")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the system has no numbers of users")
def test_a_file_of_another_user_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").touch(0o600)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)

    advice = refusal(tmp_path / "a.json").advice

    assert f"({owner}) and has the mode -rw-------, and this is user 54321: give this user the permission" in advice
    assert f"chown 54321 {tmp_path / 'a.json'}, as root" in advice


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the system has no numbers of users")
def test_a_file_of_ones_own_is_said_to_lack_the_bits(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch(0o200)

    assert (
        f"is yours and has the mode --w-------: give this user the permission (chmod u+rwX {tmp_path}"
        in refusal(tmp_path / "a.json").advice
    )
    (tmp_path / "a.json").chmod(0o600)
    # the mode is not what refuses it
    assert (
        refusal(tmp_path / "a.json").advice == "give this user the permission, or run as one who has it, and try again"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="file attributes are called otherwise there")
def test_what_is_not_permitted_may_be_immutable(tmp_path: Path) -> None:
    assert f"lsattr -d {tmp_path}/a" in refusal(tmp_path / "a", errno.EPERM).advice


@pytest.mark.parametrize("below", ["", "inner"])
def test_a_file_in_the_place_of_a_store_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    refuse_file(tmp_path)
    refuse_file(tmp_path / "none" / "inner")

    with pytest.raises(StorageUnavailableError, match="is a file, and a store is a directory; name a directory"):
        refuse_file(tmp_path / "file" / below)
