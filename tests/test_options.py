import inspect
import pydoc
from collections.abc import Callable

import pytest

import fsstore
from fsstore import sync
from fsstore.filesystem.storage import FileStorage
from fsstore.memory import MemoryStorage
from fsstore.model.times import utc_now

OPENINGS = {
    "Opening[IUnifiedStorage]": fsstore.open_storage,
    "Opening[SessionService]": fsstore.open_sessions,
    "Storage": sync.open_storage,
    "SessionService": sync.open_sessions,
}
"""The functions that open stores, by what they return."""

each_opening = pytest.mark.parametrize(("returned", "opening"), OPENINGS.items())


@each_opening
def test_help_shows_each_option_as_it_would_be_written(returned: str, opening: Callable[..., object]) -> None:
    shown = pydoc.plain(pydoc.render_doc(opening))

    signature = " ".join(shown.split())
    assert (
        f"{opening.__name__}(url: str | os.PathLike[str], *, create: bool = True, fsync: bool = True, "
        "file_mode: int = 0o600, max_bytes: int | None = None, lock_timeout_seconds: float = 10.0, "
        "reconcile: Literal['first-use', 'off'] = 'first-use', shard_depth: int = 1, allow_network: bool = False, "
        f"live: bool = False, polling: bool = False, read_only: bool = False, clock: Clock = utc_now) -> {returned}"
    ) in signature.replace("( url", "(url").replace(" ) ->", ") ->")


@each_opening
def test_the_options_that_are_shown_are_those_of_the_backend(returned: str, opening: Callable[..., object]) -> None:
    shown = list(inspect.signature(opening).parameters.values())[1:]
    taken = list(inspect.signature(FileStorage.open).parameters.values())[1:]

    assert returned
    assert [(option.name, option.annotation) for option in shown] == [(one.name, one.annotation) for one in taken]
    defaults = {option.name: option.default for option in taken}
    assert defaults.pop("clock") is utc_now
    assert defaults == {option.name: option.default for option in shown if option.name != "clock"}


def test_help_on_the_backend_shows_permissions_in_octal() -> None:
    assert "file_mode: 'int' = 0o600" in str(inspect.signature(FileStorage.open))


@pytest.mark.parametrize("opening", [FileStorage.open, MemoryStorage])
def test_help_on_the_backends_shows_the_clock_by_its_name(opening: Callable[..., object]) -> None:
    assert "= utc_now" in str(inspect.signature(opening))
    assert "0x" not in pydoc.plain(pydoc.render_doc(opening))
