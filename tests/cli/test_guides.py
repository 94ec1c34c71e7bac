from pathlib import Path

import fsstore as package
from fsstore.cli.guides import TOPICS
from tests.cli.conftest import Run, Terminal

GUIDES = Path(package.__file__).parent / "guides"


def test_guide_prints_a_topic_lists_them_and_refuses_another(fsstore: Run) -> None:
    assert fsstore("guide", "append").out == (GUIDES / "append.md").read_text("utf-8")
    assert [line.split()[0] for line in fsstore("guide").out.splitlines()] == list(TOPICS)
    refused = fsstore("guide", "apend")
    assert refused.code == 2
    assert "append" in refused.err


def test_guide_names_the_nearest_topic(fsstore: Run) -> None:
    done = fsstore("guide", "Sesions")
    assert "there is no guide 'Sesions'; did you mean sessions? There are sessions, append, " in done.err


def test_guide_is_rendered_on_a_terminal() -> None:
    code, shown = Terminal("guide", "append").finish()
    assert code == 0
    assert "Histories that grow" in shown
    assert "# Histories" not in shown


def test_no_word_in_a_table_is_cut_off_on_a_terminal() -> None:
    shown = Terminal("guide", "contract").finish()[1]
    # "Session not found: …" stands in the guide itself
    assert shown.count("…") == (GUIDES / "contract.md").read_text("utf-8").count("…")
