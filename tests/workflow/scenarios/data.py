"""Tables: JSON to clean up, and interface texts in three languages to review."""
# ruff: noqa: E501, RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

import json
from typing import Any

from tests.workflow.scenarios.script import Call, Draw, Talk, Wordings, call

_KINDS: list[tuple[Wordings, list[str], list[str]]] = [
    ({"en": ["shifts"], "zh": ["排班"], "ja": ["勤務表"]}, ["early", "late", "night"], ["hours", "overtime"]),
    (
        {"en": ["deliveries"], "zh": ["配送"], "ja": ["配達"]},
        ["north", "harbour", "south"],
        ["parcels", "kilometres"],
    ),
    ({"en": ["classes"], "zh": ["课程"], "ja": ["講座"]}, ["初级", "中级", "高级"], ["pupils", "minutes"]),
    (
        {"en": ["bird counts"], "zh": ["观鸟记录"], "ja": ["野鳥観察"]},
        ["heron", "swift", "翡翠", "カワセミ"],
        ["seen", "heard"],
    ),
    (
        {"en": ["repairs"], "zh": ["维修"], "ja": ["修理記録"]},
        ["pump", "valve", "sensor"],
        ["hours", "parts"],
    ),
]


def json_cleanup(draw: Draw) -> Talk:
    """Read a table, rename, sort and total it; misspelt fields are refused."""
    for _ in range(draw.rounds(1, 1, 2, 10)):
        yield from _one_table(draw)


def _one_table(draw: Draw) -> Talk:
    topic, groups, numbers = draw.pick(_KINDS)
    rows = [
        {"id": at + 1, "group": draw.pick(groups), **{name: draw.number(1, 90) for name in numbers}}
        for at in range(draw.number(4, 11))
    ]
    text = ",".join(rows[0]) + "\n" + "\n".join(",".join(str(cell) for cell in row.values()) for row in rows)
    yield draw.user(
        {
            "en": [
                "Turn these {topic} into JSON, largest {field} first:\n{text}",
                "CSV of {topic}; sort by {field}, descending, please.\n{text}",
            ],
            "zh": ["把这份{topic}表格转成 JSON，按 {field} 从大到小排：\n{text}"],
            "ja": ["この{topic}の表を JSON にして、{field} の降順に並べてください。\n{text}"],
        },
        topic=draw.words(topic),
        field=numbers[0],
        text=text,
    )
    (read,) = yield draw.use(call("read_csv", text=text))
    field = numbers[0].capitalize() if draw.often(0.4) else numbers[0]
    (ordered,) = yield draw.use(_sorting(read.value, field))
    if not ordered.ok:
        (ordered,) = yield draw.use(_sorting(read.value, numbers[0]))
    yield draw.answer(
        {
            "en": ["Sorted, {n} rows. First is {first}."],
            "zh": ["已排序，共 {n} 行，第一行是 {first}。"],
            "ja": ["{n}行を並べ替えました。先頭は {first} です。"],
        },
        n=len(ordered.value),
        first=json.dumps(ordered.value[0], ensure_ascii=False),
    )
    yield from _totals(draw, ordered.value, numbers[1])


def _sorting(rows: list[dict[str, Any]], field: str) -> Call:
    return call("transform_json", rows=rows, steps=[{"op": "sort", "field": field, "descending": True}])


def _totals(draw: Draw, rows: list[dict[str, Any]], field: str) -> Talk:
    yield draw.user(
        {
            "en": ["And the total of {field} by group?", "Sum {field} per group too."],
            "zh": ["再按 group 汇总 {field}。"],
            "ja": ["group ごとの {field} の合計もお願いします。"],
        },
        field=field,
    )
    step = {"op": "total", "by": "group", "field": field}
    (sums,) = yield draw.use(
        call("transform_json", rows=rows, steps=[{**step, "op": "sum"} if draw.often(0.3) else step])
    )
    if not sums.ok:
        (sums,) = yield draw.use(call("transform_json", rows=rows, steps=[step]))
    yield draw.answer(
        {"en": ["By group: {sums}."], "zh": ["按组合计：{sums}。"], "ja": ["グループ別の合計：{sums}。"]},
        sums=", ".join(f"{row['group']} {row[field]}" for row in sums.value),
    )


_TEXTS = [
    ("button.save", "Save", "保存", "保存"),
    ("button.undo", "Undo", "撤销", "元に戻す"),
    ("error.offline", "You are offline. Changes are kept on this device.", "当前离线，更改已保存在本机。", "オフラインです。変更はこの端末に保存されます。"),
    ("error.quota", "Storage is full.", "存储空间已满。", "空き容量がありません。"),
    ("hint.search", "Search notes and tags", "搜索笔记和标签", "ノートとタグを検索"),
    ("title.welcome", "Welcome back 👋", "欢迎回来 👋", "おかえりなさい 👋"),
    ("menu.archive", "Archive", "归档", "アーカイブ"),
    ("toast.synced", "Everything is up to date ✅", "已全部同步 ✅", "すべて同期済みです ✅"),
    ("dialog.delete", "Delete this session for good?", "要永久删除这个会话吗？", "このセッションを完全に削除しますか？"),
    ("label.updated", "Last updated {time}", "更新于 {time}", "最終更新 {time}"),
]  # fmt: skip


def localization_review(draw: Draw) -> Talk:
    """Review interface texts: count their lengths, find what is missing, hand back a table."""
    for _ in range(draw.rounds(1, 1, 2, 5)):
        texts = draw.chance.sample(_TEXTS, k=draw.number(3, 7))
        rows = [{"key": key, "en": en, "zh": zh, "ja": ja} for key, en, zh, ja in texts]
        missing = draw.pick(["zh", "ja"])
        del rows[-1][missing]
        yield draw.user(
            {
                "en": ["Please review these strings: {rows}"],
                "zh": ["请检查这些界面文案：{rows}"],
                "ja": ["この UI 文言を確認してください：{rows}"],
            },
            rows=json.dumps(rows, ensure_ascii=False),
        )
        (picked,) = yield draw.use(
            call("transform_json", rows=rows, steps=[{"op": "pick", "fields": ["key", missing]}])
        )
        counts = yield draw.use(*(call("count_words", text=row["en"]) for row in rows))
        longest = max(range(len(rows)), key=lambda at: int(counts[at].value["characters"]))
        yield draw.answer(
            {
                "en": [
                    "{key} has no {missing} text ({error}). The longest English string is {longest} with {n} characters."
                ],
                "zh": ["{key} 缺少 {missing} 文案（{error}）。英文最长的是 {longest}，共 {n} 个字符。"],
                "ja": [
                    "{key} に {missing} の訳がありません（{error}）。英語で最も長いのは {longest}（{n} 文字）です。"
                ],
            },
            key=rows[-1]["key"],
            missing=missing,
            error=picked.text,
            longest=rows[longest]["key"],
            n=counts[longest].value["characters"],
        )
        yield from _fill_in(draw, rows, missing)


def _fill_in(draw: Draw, rows: list[dict[str, str]], missing: str) -> Talk:
    text = next(one[2 if missing == "zh" else 3] for one in _TEXTS if one[0] == rows[-1]["key"])
    yield draw.user(
        {
            "en": ['Use "{text}" and give me the table of {missing}.'],
            "zh": ["用“{text}”，再给我 {missing} 的表。"],
            "ja": ["「{text}」でお願いします。{missing} の一覧もください。"],
        },
        text=text,
        missing=missing,
    )
    rows = [*rows[:-1], {**rows[-1], missing: text}]
    (table,) = yield draw.use(
        call(
            "transform_json",
            rows=rows,
            steps=[{"op": "pick", "fields": ["key", missing]}, {"op": "sort", "field": "key"}],
        )
    )
    listing = "\n".join(f"{row['key']} = {row[missing]}" for row in table.value)
    yield draw.answer({"en": ["{listing}"], "zh": ["{listing}"], "ja": ["{listing}"]}, listing=listing)
