"""Reading the knowledge base and writing a brief: few questions, many tool calls, long answers."""
# ruff: noqa: E501, RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

from tests.workflow.scenarios.script import Draw, Talk, call

_TOPICS = {
    "en": [("tides", "tide moon spring neap bay"), ("bread and fermentation", "sourdough yeasts bacteria"), ("batteries in the field", "lithium cell charging storage"),
           ("cooler streets", "tree shade asphalt pits"), ("what to take on a trip", "baggage cabin night trains"), ("keeping services up", "queue disk runbook")],
    "zh": [("潮汐", "月球 引力 大潮 潮差"), ("茶", "绿茶 红茶 发酵 储存"), ("出差须知", "报销 行李 发票"), ("值班手册", "队列 熔断器 排查")],
    "ja": [("潮の満ち引き", "月の引力 大潮 満潮"), ("発酵食品", "味噌 麹菌 発酵"), ("鉄道の旅", "夜行列車 乗り継ぎ 荷物"), ("運用の手順", "ディスク 容量 ログ")],
}  # fmt: skip


def research_brief(draw: Draw) -> Talk:
    """Search, read and write up one topic after another; in the end count what was written."""
    topics = _TOPICS.get(draw.locale, _TOPICS["en"])
    brief: list[str] = []
    for number in range(draw.rounds(1, 1, 3, 7)):
        topic, query = topics[number % len(topics)] if number else draw.pick(topics)
        yield draw.user(
            {
                "en": [
                    "What do we have on {topic}? I need a paragraph with sources.",
                    "Next: {topic}. Keep the sources.",
                    "Please collect what the library says about {topic}.",
                ],
                "zh": ["关于{topic}，资料库里有什么？请带上出处。", "接下来整理{topic}。"],
                "ja": ["{topic}について資料をまとめてください。出典もお願いします。", "次は{topic}です。"],
            },
            topic=topic,
        )
        yield from _write_up(draw, topic, query, brief)
    yield draw.user(
        {
            "en": ["How long is the whole brief?", "Count the words, please."],
            "zh": ["整篇有多长？"],
            "ja": ["全体でどれくらいの長さですか？"],
        }
    )
    (size,) = yield draw.use(call("count_words", text="\n".join(brief)[:4000]))
    yield draw.answer(
        {
            "en": [
                "{words} words and {cjk_characters} CJK characters (paragraphs: {paragraphs}), about {reading_minutes} minutes of reading."
            ],
            "zh": ["共 {cjk_characters} 个汉字、{words} 个英文词，{paragraphs} 段，阅读约 {reading_minutes} 分钟。"],
            "ja": [
                "日本語 {cjk_characters} 文字、英単語 {words} 語、{paragraphs} 段落で、読むのに約 {reading_minutes} 分です。"
            ],
        },
        **size.value,
    )


def _write_up(draw: Draw, topic: str, query: str, brief: list[str]) -> Talk:
    (hits,) = yield draw.use(call("search_knowledge", query=query, limit=draw.rounds(1, 2, 2, 3)))
    wanted = [hit["id"] for hit in hits.value]
    if draw.often(0.2):
        wanted.append(f"{wanted[0]}-appendix")
    read = yield draw.use(*(call("read_article", article_id=one) for one in wanted))
    found = [one.value for one in read if one.ok]
    paragraphs = [f"{article['body'].split(chr(10))[draw.number(0, 1)]} [{article['id']}]" for article in found]
    missing = [one.text for one in read if not one.ok]
    text = "\n\n".join(paragraphs)
    brief.append(text)
    yield draw.answer(
        {
            "en": [
                "**{topic}**\n\n{text}{missing}",
                "Here is {topic}, from {n} articles:\n\n{text}{missing}",
            ],
            "zh": ["**{topic}**\n\n{text}{missing}"],
            "ja": ["**{topic}**\n\n{text}{missing}"],
        },
        topic=topic,
        n=len(found),
        text=text,
        missing="".join(f"\n\n({one})" for one in missing),
    )
