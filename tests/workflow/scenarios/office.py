"""Meetings, the help desk, and people who only say hello."""
# ruff: noqa: E501, RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

from tests.workflow.scenarios.script import Draw, Talk, call

_MEETINGS = {
    "en": ["Quarter review", "Kick-off with the harbour team", "Budget round", "Retro", "Onboarding lunch"],
    "zh": ["季度复盘", "项目启动会", "预算讨论", "新人培训", "供应商沟通"],
    "ja": ["四半期レビュー", "キックオフ", "予算会議", "振り返り", "採用面談"],
}
_NO_SUCH_DAYS = ["2026-02-30", "2025-11-31", "2026-04-31", "2025-13-01", "next friday"]


def meeting_plan(draw: Draw) -> Talk:
    """Find a free stretch and book it; wrong dates, weekends and overlaps are refused."""
    for _ in range(draw.rounds(1, 1, 3, 7)):
        yield from _one_meeting(draw)


def _one_meeting(draw: Draw) -> Talk:
    title, minutes, offset = draw.words(_MEETINGS), draw.pick([30, 45, 60, 90]), draw.number(1, 14)
    asked = draw.pick(_NO_SUCH_DAYS) if draw.often(0.35) else draw.day(offset)
    yield draw.user(
        {
            "en": [
                'Find {minutes} minutes for "{title}" on {day}.',
                "Can you book {title}, {minutes} min, {day}?",
                "I need a slot on {day}: {title}, {minutes} minutes.",
            ],
            "zh": [
                "{day} 帮我安排“{title}”，{minutes} 分钟。",
                "请在 {day} 预订 {minutes} 分钟开“{title}”。",
            ],
            "ja": [
                "{day} に「{title}」を {minutes} 分入れてください。",
                "{title}（{minutes} 分）を {day} に予約したいです。",
            ],
        },
        minutes=minutes,
        title=title,
        day=asked,
    )
    day = asked
    (slots,) = yield draw.use(call("free_slots", day=day, minutes=minutes))
    while not slots.ok or not slots.value["free"]:
        day, offset = draw.day(offset), offset + 1
        (slots,) = yield draw.use(call("free_slots", day=day, minutes=minutes))
    start = slots.value["free"][0]["start"]
    tried = f"{draw.number(9, 16):02d}:00" if draw.often(0.3) else start
    (booked,) = yield draw.use(call("book_slot", day=day, start=tried, minutes=minutes, title=title))
    if not booked.ok:
        (booked,) = yield draw.use(call("book_slot", day=day, start=start, minutes=minutes, title=title))
    yield draw.answer(
        {
            "en": [
                "Booked: {title} on {day}, {start}-{end}.",
                "{title} is in the agenda for {day} at {start}.",
            ],
            "zh": ["已预订：{day} {start}-{end}，{title}。"],
            "ja": ["{day} {start}-{end} に「{title}」を入れました。"],
        },
        **booked.value["booked"],
    )


_TROUBLE = {
    "en": [("certificate expired vpn gateway", "The VPN client says my certificate expired."), ("password reset recovery code", "I am locked out after too many tries."),
           ("printer streaks drum toner", "The printer on floor four leaves streaks."), ("hologram projector lens", "The hologram projector in room 9 flickers."),
           ("tax office stamp form", "Where do I get form 88-B stamped?")],
    "zh": [("证书 过期 网关", "客户端提示证书已过期，怎么办？"), ("报销 发票 出租车", "打车的发票怎么报销？"), ("全息 投影仪", "九号会议室的全息投影仪坏了。")],
    "ja": [("プリンター ドラム", "四階のプリンターに筋が出ます。"), ("会議室 予約", "会議室の予約が勝手に消えました。"), ("量子 通信機", "量子通信機の電源が入りません。")],
}  # fmt: skip


def helpdesk(draw: Draw) -> Talk:
    """Search the knowledge base for a complaint; what it does not know goes to a colleague."""
    for _ in range(draw.rounds(1, 1, 3, 6)):
        query, complaint = draw.pick(_TROUBLE.get(draw.locale, _TROUBLE["en"]))
        yield draw.user({draw.locale: [complaint], "en": [complaint]})
        (hits,) = yield draw.use(call("search_knowledge", query=query))
        if hits.value:
            (article,) = yield draw.use(call("read_article", article_id=hits.value[0]["id"]))
            yield draw.answer(
                {
                    "en": ["Please try this ({title}):\n{body}"],
                    "zh": ["请参考《{title}》：\n{body}"],
                    "ja": ["「{title}」をご覧ください。\n{body}"],
                },
                **article.value,
            )
        else:
            # a name that models like to make up; the library refuses it
            yield from _invented_article(draw, query)


def _invented_article(draw: Draw, query: str) -> Talk:
    (missing,) = yield draw.use(call("read_article", article_id="it-" + "-".join(query.split()[:2])))
    yield draw.answer(
        {
            "en": ["I found nothing about that ({error}). A colleague from the second line will call you on {day}."],
            "zh": ["知识库里没有相关内容（{error}）。二线同事会在 {day} 联系您。"],
            "ja": ["該当する記事がありません（{error}）。{day} に担当者からご連絡します。"],
        },
        error=missing.text,
        day=draw.day(1),
    )


def small_talk(draw: Draw) -> Talk:
    """Say hello and leave, mostly without needing a tool."""
    yield draw.user(
        {
            "en": ["hi", "Hello, are you there?", "Good morning!", "What can you do?", "testing, testing"],
            "zh": ["你好", "在吗？", "早上好", "你能做什么？"],
            "ja": ["こんにちは", "おはようございます", "何ができますか？", "テストです"],
        }
    )
    yield draw.answer(
        {
            "en": [
                "Hello! I can calculate, look things up and keep your agenda. What do you need?",
                "Good to hear from you. How can I help?",
            ],
            "zh": ["你好！我可以计算、查资料、安排日程。需要什么帮助？", "在的，请说。"],
            "ja": [
                "こんにちは。計算や調べもの、予定の管理ができます。ご用件をどうぞ。",
                "はい、どうされましたか？",
            ],
        }
    )
