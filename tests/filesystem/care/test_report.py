import json

from fsstore.filesystem.care.report import NOTES, Finding, Kind, Moved, RepairReport, VerifyReport


def test_damage_is_told_from_notes() -> None:
    assert Finding(Kind.UNREADABLE, "3f/a.json", "torn").is_damage
    assert not Finding(Kind.OUTDATED, "3f/a.json", "edited").is_damage
    report = VerifyReport(findings=[Finding(kind, "x", "") for kind in Kind])
    assert {finding.kind for finding in report.damage} == set(Kind) - NOTES
    assert not report.is_clean
    assert VerifyReport(findings=[Finding(kind, "x", "") for kind in NOTES]).is_clean


def test_a_report_counts_every_kind_also_those_it_did_not_find() -> None:
    findings = [Finding(Kind.ALTERED, "a", ""), Finding(Kind.ALTERED, "b", ""), Finding(Kind.TEMPORARY, "c", "")]
    counts = VerifyReport(findings=findings).as_json()["counts"]
    assert counts.keys() == set(map(str, Kind))
    assert {kind: count for kind, count in counts.items() if count} == {"altered": 2, "temporary": 1}


def test_a_name_that_is_no_text_can_be_written_as_json() -> None:
    name = b"3f/\xff.json".decode(errors="surrogateescape")
    report = RepairReport(
        moved=[Moved(name, "to", name)],
        altered=[Finding(Kind.ALTERED, name, "")],
        left=[Finding(Kind.REFUSED, "x", name)],
    )
    text = json.dumps(report.as_json(), ensure_ascii=False)
    assert text.encode().decode() == text
    assert r"3f/\\udcff.json" in text


def test_the_words_for_programs_stay_as_they_are() -> None:
    assert [str(kind) for kind in Kind] == [
        *("unreadable", "in_conflict", "refused", "too_large", "wrong_place", "altered", "index_wrong"),
        *("index_damaged", "log_damaged", "duplicate_key", "not_savable", "not_indexed", "outdated", "left_over"),
        *("no_index", "temporary"),
    ]
