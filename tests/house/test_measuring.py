from tests.house import passes, source
from tests.house.__main__ import table


async def test_every_step_of_the_scenario_is_measured() -> None:
    found = await passes.measured(times=1)

    assert list(found) == ["save", "get", "list of 5", "watched change", "recovery"]
    assert all(0 < passed.files <= passed.calls for passed in found.values())
    assert found["get"].files < found["list of 5"].files
    assert "filesystem/storage.py" in found["save"].names


def test_the_table_tells_of_every_folder_and_of_the_engine() -> None:
    text = "\n".join(table({}))

    assert all(f"fsstore/{name.replace('.', '/')}" in text for name in source.PACKAGES)
    assert "floors of its modules" in text


def test_the_longest_chain_is_the_longest_and_ends_in_a_circle_too() -> None:
    imports = {"a": {"b", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}

    assert source.longest_chain(imports) == ["a", "b", "c", "d"]
    assert source.longest_chain({"a": {"b"}, "b": {"a"}}) == ["a", "b"]
