import logging
from pathlib import Path

import pytest

from fsstore import FileStorage, StorageCorruptedError, StorageError
from fsstore.printing import printable

STEERING = "\x1b]0;owned\x07\x9b31m\u202eevil\u2066\u200f\u061c\u2028\r\n\udc1b"
SHOWN = r"\x1b]0;owned\x07\x9b31m\u202eevil\u2066\u200f\u061c\u2028\r\n\udc1b"


def test_what_would_steer_a_terminal_is_escaped_and_nothing_else() -> None:
    assert printable(STEERING) == SHOWN
    assert printable("größe 𝄞 日本 \\x1b 👩\u200d👧") == "größe 𝄞 日本 \\x1b 👩\u200d👧"


def test_the_text_of_an_error_is_printable_and_its_fields_are_what_they_were() -> None:
    error = StorageCorruptedError(id=STEERING, path=f"a/{STEERING}", reason=STEERING, advice=f"move {STEERING}")
    error.advise(STEERING)

    assert printable(str(error)) == str(error)
    assert SHOWN in str(error)
    assert (error.id, error.reason) == (STEERING, STEERING)


def test_a_text_of_the_callers_own_stays_as_it_is() -> None:
    assert str(StorageError(STEERING)) == STEERING


def loggers() -> list[str]:
    """Return the names of all loggers of fsstore; what `FileStorage` imports has made them."""
    return sorted(name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "fsstore")


def test_there_are_loggers_for_what_cannot_be_read_and_for_everything_else() -> None:
    assert {"fsstore", "fsstore.unreadable"} <= {*loggers()}


@pytest.mark.parametrize("logger", loggers())
def test_log_messages_about_files_are_printable(caplog: pytest.LogCaptureFixture, logger: str) -> None:
    logging.getLogger(logger).warning("%s of %d: %s", STEERING, 3, OSError(STEERING))

    assert caplog.messages == [f"{SHOWN} of 3: {SHOWN}"]


async def test_names_that_somebody_has_put_into_a_store_reach_no_terminal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
    (shard,) = {path.parent for path in tmp_path.glob("*/*.json")}
    (shard / "\x1b]0;owned\x07\u202e.json").write_text("{}")
    (shard / "b.json").write_text('{"id": "\\u001b[31m"}')
    async with await FileStorage.open(tmp_path) as storage:
        assert await storage.count() == 1
        assert len(await storage.list()) == 1
        await storage.health_check()

    assert len(caplog.messages) >= 2
    assert [printable(message) for message in caplog.messages] == caplog.messages
