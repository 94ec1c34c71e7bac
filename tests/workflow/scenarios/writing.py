"""Drafts that are counted, shortened and compared."""
# ruff: noqa: E501, RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

from collections.abc import Generator

from tests.workflow.scenarios.script import Draw, Reply, Result, Talk, UserLine, call
from tests.workflow.tools.library import articles

_KINDS = {
    "en": ["newsletter", "application letter", "exhibition text", "blog post", "speech"],
    "zh": ["公众号文章", "演讲稿", "展览说明", "读书笔记"],
    "ja": ["社内報の記事", "スピーチ原稿", "展示の解説文", "レポート"],
}


def essay_feedback(draw: Draw) -> Talk:
    """Count a draft, shorten it in rounds, and show what each round changed."""
    source = draw.pick([one for one in articles() if one.locale == draw.locale and one.id.startswith("science")])
    kind, limit = draw.words(_KINDS), draw.number(40, 160)
    draft = _padded(draw, source.body)
    yield draw.user(
        {
            "en": [
                "This is a draft for a {kind}, about {title}. It must fit into {limit} words:\n\n{draft}",
                "Please tighten this {kind} ({title}):\n\n{draft}",
            ],
            "zh": ["这是{kind}的初稿，题目是《{title}》，请帮我精简：\n\n{draft}"],
            "ja": ["{kind}の下書きです（{title}）。短くしてください。\n\n{draft}"],
        },
        kind=kind,
        title=source.title,
        limit=limit,
        draft=draft,
    )
    for number in range(draw.rounds(1, 2, 5, 9)):
        shorter = _shortened(draw, draft)
        yield from _tightened(draw, draft, shorter, number + 1)
        draft = shorter if draw.often(0.6) else _padded(draw, shorter)
        yield draw.user(
            {
                "en": [
                    "Good, one more round. My editor added a few lines:\n\n{draft}",
                    "Better. Here is where it stands now:\n\n{draft}",
                ],
                "zh": ["不错，再来一轮：\n\n{draft}", "编辑又加了几句：\n\n{draft}"],
                "ja": [
                    "いいですね。もう一度お願いします。\n\n{draft}",
                    "編集者が少し書き足しました。\n\n{draft}",
                ],
            },
            draft=draft,
        )
    yield draw.answer(
        {
            "en": ["I would leave it as it is now; the last paragraph carries the piece."],
            "zh": ["现在的版本已经很好，结尾很有力。"],
            "ja": ["これで十分だと思います。最後の段落が効いています。"],
        }
    )


def _tightened(draw: Draw, draft: str, shorter: str, number: int) -> Talk:
    before, after = yield draw.use(call("count_words", text=draft), call("count_words", text=shorter))
    (changes,) = yield draw.use(call("compare_texts", before=draft, after=shorter))
    yield draw.answer(
        {
            "en": [
                "From {was} to {now} characters ({words} words, similarity {same}):\n\n{text}",
                "Round {number}: {now} characters instead of {was}. I kept {same:.0%} of it.\n\n{text}",
            ],
            "zh": ["从 {was} 字缩短到 {now} 字（相似度 {same}）：\n\n{text}"],
            "ja": ["{was} 字から {now} 字に縮めました（類似度 {same}）。\n\n{text}"],
        },
        was=before.value["characters"],
        now=after.value["characters"],
        words=after.value["words"],
        same=changes.value["similarity"],
        number=number,
        text=shorter,
    )


_PADDING = {
    "en": ["It is worth noting that this matters to all of us.", "As everybody knows, there is more to say.",
           "In this context one could also mention the weather.", "Readers often ask how this began."],
    "zh": ["众所周知，这一点非常重要。", "值得一提的是，读者常常问起它的来历。", "在此，我们不妨多说几句。"],
    "ja": ["言うまでもなく、これは大切なことです。", "よく質問をいただく話題でもあります。", "ここで少し寄り道をします。"],
}  # fmt: skip


def _padded(draw: Draw, text: str) -> str:
    """Let a padding sentence in at the end of every paragraph or so."""
    glue = " " if draw.locale == "en" else ""
    return "\n".join(part + (glue + draw.words(_PADDING) if draw.often(0.7) else "") for part in text.split("\n"))


def _shortened(draw: Draw, text: str) -> str:
    """Cut the padding, and now and then the last sentence of a paragraph."""
    for line in _PADDING.get(draw.locale, _PADDING["en"]):
        text = text.replace(" " + line, "").replace(line, "")
    stop = ". " if draw.locale == "en" else "。"
    kept = []
    for part in text.split("\n"):
        sentences = part.rstrip("。.").split(stop)
        kept.append(stop.join(sentences[:-1] if len(sentences) > 2 and draw.often(0.3) else sentences) + stop.strip())
    return "\n".join(kept)


_FEATURES = {
    "en": ["Sync resumes after sleep", "Search understands accents", "Exports keep their order", "Faster start on old phones",
           "Calendar shows week numbers", "Drafts survive a restart", "Dark mode for printed previews", "Fewer permissions on install"],
    "zh": ["休眠后继续同步", "搜索支持拼音", "导出保持顺序", "旧手机启动更快", "日历显示周数", "草稿在重启后保留"],
    "ja": ["スリープ後に同期を再開", "検索がかな表記に対応", "書き出しの順序を維持", "古い端末での起動を高速化", "カレンダーに週番号を表示", "下書きが再起動後も残る"],
}  # fmt: skip


def release_notes(draw: Draw) -> Talk:
    """Write release notes from a list of changes, then edit and compare them."""
    version = f"{draw.number(1, 9)}.{draw.number(0, 12)}.{draw.number(0, 9)}"
    features = draw.chance.sample(_FEATURES.get(draw.locale, _FEATURES["en"]), k=draw.number(3, 5))
    listing = "; ".join(features)
    yield draw.user(
        {
            "en": [
                "Write release notes for {version}: {listing}.",
                "Notes for {version} please. Changes: {listing}",
            ],
            "zh": ["请写 {version} 的更新说明：{listing}"],
            "ja": ["{version} のリリースノートを書いてください：{listing}"],
        },
        version=version,
        listing=listing,
    )
    notes = f"## {version}\n" + "\n".join(f"- {feature}" for feature in features)
    yield draw.answer({"en": ["{notes}"], "zh": ["{notes}"], "ja": ["{notes}"]}, notes=notes)
    for _ in range(draw.rounds(1, 1, 3, 6)):
        others = [one for one in _FEATURES.get(draw.locale, _FEATURES["en"]) if one not in features]
        gone, new = draw.pick(features), draw.pick(others)
        yield draw.user(
            {
                "en": ['Drop "{gone}", it slipped. Add "{new}".', 'Replace "{gone}" with "{new}".'],
                "zh": ["去掉“{gone}”，加上“{new}”。"],
                "ja": ["「{gone}」を「{new}」に差し替えてください。"],
            },
            gone=gone,
            new=new,
        )
        features = [new if feature == gone else feature for feature in features]
        notes = yield from _edited(draw, notes, version, features)


def _edited(
    draw: Draw, notes: str, version: str, features: list[str]
) -> Generator[UserLine | Reply, list[Result], str]:
    """Show the edited notes and what changed in them; returns them."""
    edited = f"## {version}\n" + "\n".join(f"- {feature}" for feature in features)
    changes, size = yield draw.use(call("compare_texts", before=notes, after=edited), call("count_words", text=edited))
    yield draw.answer(
        {
            "en": ["{notes}\n\nChanged:\n{diff}"],
            "zh": ["{notes}\n\n改动：\n{diff}"],
            "ja": ["{notes}\n\n変更点：\n{diff}"],
        },
        notes=edited,
        diff="\n".join(changes.value["diff"]) or f"({size.value['characters']})",
    )
    return edited
