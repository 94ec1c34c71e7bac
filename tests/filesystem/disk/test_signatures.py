import os
from pathlib import Path

from fsstore.filesystem.disk.signatures import INODE_BITS, Signature, identity_of, signature_in, stat_of


def test_a_signature_changes_with_the_content_and_an_identity_does_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    before = path.stat()
    path.write_bytes(b"and after")
    after = path.stat()

    assert signature_in(before) != signature_in(after)
    assert identity_of(before) == identity_of(after)


def test_files_of_one_inode_number_on_two_devices_have_two_identities(tmp_path: Path) -> None:
    found = tmp_path.stat()
    elsewhere = os.stat_result((*found[:2], found.st_dev + 1, *found[3:10]))

    assert identity_of(elsewhere) != identity_of(found)


def test_a_file_was_changed_at_the_later_of_its_times() -> None:
    assert Signature(1, 2, mtime_ns=5, ctime_ns=7).changed_ns == 7
    assert Signature(1, 2, mtime_ns=9, ctime_ns=7).changed_ns == 9


def test_the_device_of_a_file_that_lies_elsewhere_stands_above_every_inode_number() -> None:
    assert not Signature((1 << INODE_BITS) - 1, 0, 0, 0).is_elsewhere
    assert Signature(1 << INODE_BITS, 0, 0, 0).is_elsewhere


def test_a_stat_is_made_from_a_signature_and_shows_it() -> None:
    signature = Signature(12, 345, 1_700_000_000_123_456_789, 1_700_000_000_987_654_321)
    made = stat_of(signature, 6)

    assert signature_in(made) == signature
    assert made.st_dev == 6
