"""What people ask besides: short turns that fit after any conversation."""
# ruff: noqa: E501, RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

from tests.workflow.scenarios.script import Draw, Talk, call


def thanks(draw: Draw) -> Talk:
    """Say thank you."""
    yield draw.user(
        {
            "en": ["Thanks, that helps.", "Perfect, thank you!", "Great, that is all.", "ok thx"],
            "zh": ["谢谢，很有帮助。", "好的，多谢！", "没有别的问题了。"],
            "ja": ["ありがとうございます。", "助かりました！", "以上です。"],
        }
    )
    yield draw.answer(
        {
            "en": ["You are welcome.", "Any time.", "Glad it helped."],
            "zh": ["不客气。", "随时找我。"],
            "ja": ["どういたしまして。", "またいつでもどうぞ。"],
        }
    )


def some_day(draw: Draw) -> Talk:
    """Ask for the weekday of a day to come."""
    days = draw.number(5, 120)
    yield draw.user(
        {
            "en": ["By the way, what weekday is it {days} days from now?", "What date is it in {days} days?"],
            "zh": ["顺便问一下，{days}天后是星期几？"],
            "ja": ["ところで、{days}日後は何曜日ですか？"],
        },
        days=days,
    )
    (day,) = yield draw.use(call("calendar", action="add", day=draw.day(), days=days))
    yield draw.answer(
        {
            "en": ["{date}, a {weekday} (week {iso_week})."],
            "zh": ["{date}，{weekday}（{iso_week}）。"],
            "ja": ["{date}（{weekday}、{iso_week}）です。"],
        },
        **{**day.value, "weekday": draw.weekday(day.value["weekday"])},
    )


def impossible_day(draw: Draw) -> Talk:
    """Ask for a day that no calendar has."""
    day = draw.pick(["2026-02-29", "2026-02-30", "2025-09-31", "2026-06-31"])
    yield draw.user(
        {
            "en": ["Which weekday is {day}?", "Is {day} a working day?"],
            "zh": ["{day} 是星期几？"],
            "ja": ["{day} は何曜日ですか？"],
        },
        day=day,
    )
    (result,) = yield draw.use(call("calendar", action="weekday", day=day))
    yield draw.answer(
        {
            "en": ["That day does not exist: {error}"],
            "zh": ["没有这一天：{error}"],
            "ja": ["その日付は存在しません：{error}"],
        },
        error=result.text,
    )


def percentage(draw: Draw) -> Talk:
    """Ask for a share of a number."""
    share, whole = draw.number(2, 95), draw.number(40, 9000)
    yield draw.user(
        {
            "en": ["Quick one: {share} % of {whole}?", "What is {share} percent of {whole}?"],
            "zh": ["{whole} 的 {share}% 是多少？"],
            "ja": ["{whole} の {share}% はいくつ？"],
        },
        share=share,
        whole=whole,
    )
    (result,) = yield draw.use(call("calculator", expression=f"{whole} * {share} / 100"))
    yield draw.answer(
        {"en": ["{value}.", "That is {value}."], "zh": ["{value}。"], "ja": ["{value} です。"]},
        **result.value,
    )


def pace(draw: Draw) -> Talk:
    """Ask how fast something is in other units."""
    speed = draw.number(8, 130)
    yield draw.user(
        {
            "en": ["How fast is {speed} km/h in miles per hour?"],
            "zh": ["时速 {speed} 公里是多少英里？"],
            "ja": ["時速 {speed} km は何マイルですか？"],
        },
        speed=speed,
    )
    (result,) = yield draw.use(call("convert_units", value=speed, from_unit="km/h", to_unit="mph"))
    yield draw.answer(
        {"en": ["{result:.1f} mph."], "zh": ["{result:.1f} 英里。"], "ja": ["{result:.1f} マイルです。"]},
        **result.value,
    )


_CURIOUS = {
    "en": [("lithium battery charging storage", "Something else: how full should I store a battery?"),
           ("street tree shade asphalt", "Why are streets with trees so much cooler?"),
           ("tide tables wind pressure", "Do tide tables know about the wind?"),
           ("printer follow-me badge", "Where did my print job go?")],
    "zh": [("绿茶 储存 冰箱", "另外，茶叶能放冰箱吗？"), ("潮汐表 气压", "台风来的时候潮汐表还准吗？"), ("充电宝 托运", "充电宝可以托运吗？")],
    "ja": [("潮位表 気圧", "台風のとき潮位表は当たりますか？"), ("味噌 減らす 塩", "塩分を減らした味噌は作れますか？"), ("会議室 予約 取り消", "予約が消えるのは何分後ですか？")],
}  # fmt: skip


def curious(draw: Draw) -> Talk:
    """Ask the knowledge base about something else altogether."""
    query, question = draw.pick(_CURIOUS.get(draw.locale, _CURIOUS["en"]))
    yield draw.user({draw.locale: [question], "en": [question]})
    (hits,) = yield draw.use(call("search_knowledge", query=query, limit=1))
    yield draw.answer(
        {
            "en": ['See "{title}": {excerpt}…'],
            "zh": ["请看《{title}》：{excerpt}…"],
            "ja": ["「{title}」をご覧ください：{excerpt}…"],
        },
        **hits.value[0],
    )


def shorter(draw: Draw) -> Talk:
    """Ask for less, which takes no tool."""
    yield draw.user(
        {
            "en": ["Can you keep your answers shorter?", "Shorter please, I am on my phone."],
            "zh": ["回答可以简短一点吗？", "我在手机上看，请简短些。"],
            "ja": ["もう少し短く答えてもらえますか？", "携帯で見ているので簡潔にお願いします。"],
        }
    )
    yield draw.answer({"en": ["Sure.", "Will do."], "zh": ["好的。"], "ja": ["承知しました。"]})


ASIDES = [some_day, percentage, pace, curious, curious, shorter]
