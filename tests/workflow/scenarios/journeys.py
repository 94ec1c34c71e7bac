"""Trips, luggage and meetings: dates, distances and days that do not exist."""
# ruff: noqa: E501, RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

from tests.workflow.scenarios.script import Draw, Talk, call

_CITIES = {
    "en": [("Lisbon", "EUR"), ("Kyoto", "JPY"), ("Zurich", "CHF"), ("Gothenburg", "SEK"), ("Busan", "KRW"), ("Leeds", "GBP")],
    "zh": [("京都", "JPY"), ("里斯本", "EUR"), ("釜山", "KRW"), ("苏黎世", "CHF"), ("爱丁堡", "GBP")],
    "ja": [("リスボン", "EUR"), ("成都", "CNY"), ("釜山", "KRW"), ("チューリッヒ", "CHF"), ("ヨーテボリ", "SEK")],
}  # fmt: skip
_HOME = {"en": "EUR", "zh": "CNY", "ja": "JPY"}
_ADVICE = {
    "en": ["baggage cabin power banks", "night trains connections", "baggage sports gear"],
    "zh": ["行李额 充电宝 托运", "差旅报销 住宿", "行李 随身 液体"],
    "ja": ["夜行列車 乗り継ぎ", "列車 荷物 大きさ"],
}


def trip_plan(draw: Draw) -> Talk:
    """Plan a trip: dates, money, luggage advice, then a plan day by day."""
    city, currency = draw.pick(_CITIES.get(draw.locale, _CITIES["en"]))
    home = _HOME.get(draw.locale, "EUR")
    home = "USD" if home == currency else home
    start, nights, budget = draw.number(12, 160), draw.number(2, 9), draw.number(4, 40) * 50
    leave, back = draw.day(start), draw.day(start + nights)
    yield draw.user(
        {
            "en": [
                "I am going to {city} from {leave} to {back} with {budget} {home}. What should I know?",
                "Help me plan {city}: {leave} until {back}, budget {budget} {home}.",
            ],
            "zh": [
                "我打算 {leave} 去{city}，{back} 回来，预算 {budget} {home}，帮我规划一下。",
                "{leave} 到 {back} 去{city}，有什么要注意的？预算 {budget} {home}。",
            ],
            "ja": [
                "{leave} から {back} まで{city}へ行きます。予算は {budget} {home} です。計画を立ててください。",
                "{city}旅行の相談です。{leave}〜{back}、予算 {budget} {home}。",
            ],
        },
        city=city,
        leave=leave,
        back=back,
        budget=budget,
        home=home,
    )
    yield from _frame(draw, city=city, nights=nights, start=start, money=(budget, home, currency))
    for query in _ADVICE.get(draw.locale, _ADVICE["en"])[: draw.rounds(0, 1, 2, 3)]:
        yield from _advice(draw, query)
    if draw.length != "short":
        yield from _days(draw, city, start, nights)


def _frame(draw: Draw, *, city: str, nights: int, start: int, money: tuple[int, str, str]) -> Talk:
    budget, home, currency = money
    leave, back = draw.day(start), draw.day(start + nights)
    span, weekday = yield draw.use(
        call("calendar", action="between", day=leave, other=back),
        call("calendar", action="weekday", day=leave),
    )
    (rate,) = yield draw.use(call("exchange_rate", base=home, quote=currency, day=draw.day()))
    (daily,) = yield draw.use(
        call("calculator", expression=f"round({budget} * {rate.value['rate']} / {nights + 1}, 0)")
    )
    yield draw.answer(
        {
            "en": [
                "{city}: {days} nights, leaving on a {weekday}. At today's rate you have about {daily} {currency} a day. Shall I sketch the days?"
            ],
            "zh": [
                "{city}{days}晚，出发日是 {weekday}。按今天的汇率，每天大约可用 {daily} {currency}。需要我查行李规定或安排每天的行程吗？"
            ],
            "ja": [
                "{city}は{days}泊、出発日は {weekday} です。今日のレートでは一日あたり約 {daily} {currency} 使えます。荷物の規定や日程も調べましょうか？"
            ],
        },
        city=city,
        days=span.value["days"],
        weekday=draw.weekday(weekday.value["weekday"]),
        daily=daily.value["value"],
        currency=currency,
    )


def _advice(draw: Draw, query: str) -> Talk:
    yield draw.user(
        {
            "en": ["Look up: {query}.", "What do the rules say about {query}?"],
            "zh": ["帮我查一下：{query}"],
            "ja": ["{query} について調べてください。"],
        },
        query=query,
    )
    (hits,) = yield draw.use(call("search_knowledge", query=query, limit=2))
    (article,) = yield draw.use(call("read_article", article_id=hits.value[0]["id"]))
    yield draw.answer(
        {"en": ["{title}:\n{body}"], "zh": ["《{title}》\n{body}"], "ja": ["「{title}」\n{body}"]},
        **article.value,
    )


_PARTS = {
    "en": ["walk along the water in the morning", "the covered market for lunch", "a museum if it rains", "early dinner near the station",
           "ferry to the island", "a bath house in the evening", "laundry and a slow coffee", "the viewpoint at sunset"],
    "zh": ["早上沿河散步", "中午去市场吃小吃", "下雨就去博物馆", "傍晚看日落", "坐轮渡去小岛", "晚上泡温泉", "在老街喝咖啡", "早点回酒店休息"],
    "ja": ["朝は川沿いを散歩", "昼は市場で食事", "雨なら美術館", "夕方は展望台", "フェリーで島へ", "夜は銭湯", "喫茶店でひと休み", "早めに宿へ戻る"],
}  # fmt: skip


def _days(draw: Draw, city: str, start: int, nights: int) -> Talk:
    yield draw.user(
        {
            "en": ["Sketch the days, please.", "Yes, day by day."],
            "zh": ["好，请安排每天的行程。"],
            "ja": ["日程をお願いします。"],
        }
    )
    parts = _PARTS.get(draw.locale, _PARTS["en"])
    glue = "; " if parts is _PARTS["en"] else "、"
    order = draw.chance.sample(parts, k=len(parts))
    plan = [
        f"{draw.day(start + day)}: {glue.join(order[(3 * day + part) % len(order)] for part in range(3))}"
        for day in range(nights + 1)
    ]
    yield draw.answer(
        {
            "en": ["{city}, day by day:\n{plan}"],
            "zh": ["{city}行程：\n{plan}"],
            "ja": ["{city}の日程案：\n{plan}"],
        },
        city=city,
        plan="\n".join(plan),
    )


def luggage_weight(draw: Draw) -> Talk:
    """Convert weights and sizes; a unit that is not one is refused."""
    for _ in range(draw.rounds(1, 1, 2, 4)):
        pounds, inches = draw.number(18, 70), draw.number(18, 32)
        unit = draw.pick(["lb", "lb", "lbs", "pounds"])
        yield draw.user(
            {
                "en": ["My suitcase weighs {pounds} {unit} and is {inches} inches tall. Is it within 23 kg and 55 cm?"],
                "zh": ["我的箱子重 {pounds} 磅，高 {inches} 英寸，超过 23 公斤和 55 厘米了吗？"],
                "ja": ["スーツケースは {pounds} ポンド、高さ {inches} インチです。23 kg・55 cm に収まりますか？"],
            },
            pounds=pounds,
            unit=unit,
            inches=inches,
        )
        weight, height = yield draw.use(
            call("convert_units", value=pounds, from_unit=unit, to_unit="kg"),
            call("convert_units", value=inches, from_unit="in", to_unit="cm"),
        )
        if not weight.ok:
            (weight,) = yield draw.use(call("convert_units", value=pounds, from_unit="lb", to_unit="kg"))
        kilograms, centimetres = weight.value["result"], height.value["result"]
        fits = kilograms <= 23 and centimetres <= 55
        yield draw.answer(
            {
                "en": ["{kg} kg and {cm} cm: {verdict}."],
                "zh": ["{kg} 公斤，{cm} 厘米：{verdict}。"],
                "ja": ["{kg} kg、{cm} cm です。{verdict}。"],
            },
            kg=kilograms,
            cm=centimetres,
            verdict=draw.words(
                {"en": ["it fits"], "zh": ["没有超"], "ja": ["規定内です"]}
                if fits
                else {"en": ["it is over the limit"], "zh": ["超了"], "ja": ["規定を超えています"]}
            ),
        )
