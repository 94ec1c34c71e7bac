"""Cooking and homework: quantities, temperatures, sums that go wrong."""
# ruff: noqa: E501, RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

from tests.workflow.scenarios.script import Draw, Talk, call

_DISHES = {
    "en": [
        ("sourdough loaf", "flour"),
        ("lemon tart", "butter"),
        ("lentil soup", "lentils"),
        ("granola", "oats"),
        ("focaccia", "flour"),
    ],
    "zh": [("葱油饼", "面粉"), ("红烧肉", "五花肉"), ("豆花", "黄豆"), ("桂花糕", "糯米粉")],
    "ja": [
        ("味噌汁", "味噌"),
        ("どら焼き", "小麦粉"),
        ("肉じゃが", "じゃがいも"),
        ("シフォンケーキ", "砂糖"),
    ],
}
_COOKS_UNITS = {"cup": "ml", "oz": "g", "tbsp": "ml", "lb": "g"}


def recipe_scale(draw: Draw) -> Talk:
    """Scale a recipe and translate its units; a mass is not a volume."""
    dish, stuff = draw.pick(_DISHES.get(draw.locale, _DISHES["en"]))
    serves, guests = draw.number(2, 6), draw.number(5, 24)
    amount, unit = draw.number(2, 18) / 2, draw.pick(list(_COOKS_UNITS))
    yield draw.user(
        {
            "en": [
                "The recipe for {dish} serves {serves} and needs {amount} {unit} of {stuff}. I have {guests} guests.",
                "{dish}: {amount} {unit} {stuff} for {serves}. Scale it to {guests} people in metric, please.",
            ],
            "zh": ["{dish}的配方是{serves}人份，需要 {amount} {unit} {stuff}，我要做{guests}人份。"],
            "ja": ["{dish}は{serves}人分で{stuff}が {amount} {unit} 必要です。{guests}人分にしてください。"],
        },
        dish=dish,
        serves=serves,
        amount=amount,
        unit=unit,
        stuff=stuff,
        guests=guests,
    )
    (scaled,) = yield draw.use(call("calculator", expression=f"round({amount} * {guests} / {serves}, 3)"))
    wanted = draw.pick(["kg", "g"]) if unit in {"cup", "tbsp"} and draw.often(0.5) else _COOKS_UNITS[unit]
    (metric,) = yield draw.use(call("convert_units", value=scaled.value["value"], from_unit=unit, to_unit=wanted))
    if not metric.ok:
        (metric,) = yield draw.use(call("convert_units", value=scaled.value["value"], from_unit=unit, to_unit="ml"))
    yield draw.answer(
        {
            "en": [
                "For {guests} you need {result:.0f} {to} of {stuff} ({value} {from_unit}).",
                "{stuff}: {result:.0f} {to}. Multiply everything else by the same factor, but salt a little less.",
            ],
            "zh": ["{guests}人份需要{stuff} {result:.0f} {to}（{value} {from_unit}），其他材料按同样比例增加。"],
            "ja": [
                "{guests}人分では{stuff}が {result:.0f} {to}（{value} {from_unit}）必要です。ほかの材料も同じ比率で増やしてください。"
            ],
        },
        guests=guests,
        stuff=stuff,
        from_unit=unit,
        **metric.value,
    )
    for _ in range(draw.rounds(0, 1, 2, 5)):
        yield from draw.pick([_oven, _why])(draw)


def _oven(draw: Draw) -> Talk:
    heat = draw.number(12, 19) * 25
    yield draw.user(
        {
            "en": ["The oven should be at {heat} °F, what is that here?"],
            "zh": ["烤箱要 {heat} °F，换成摄氏是多少？"],
            "ja": ["オーブンは {heat} °F とあります。摂氏だと何度ですか？"],
        },
        heat=heat,
    )
    (celsius,) = yield draw.use(call("convert_units", value=heat, from_unit="°F", to_unit="°C"))
    yield draw.answer(
        {
            "en": ["{result:.0f} °C; with a fan take 20 degrees off."],
            "zh": ["{result:.0f} °C，热风模式再低 20 度。"],
            "ja": ["{result:.0f} °C です。コンベクションなら20度下げてください。"],
        },
        **celsius.value,
    )


_WHY = {
    "en": [
        ("sourdough starter acid bacteria", "Why does my bread taste so sour?"),
        ("feeding starter hydration", "How do I keep a starter alive?"),
    ],
    "zh": [("茶叶 储存 绿茶", "顺便问一下，绿茶怎么保存？"), ("普洱 发酵 渥堆", "普洱是怎么发酵的？")],
    "ja": [
        ("味噌 発酵 塩分", "味噌の色はどうして濃くなるのですか？"),
        ("味噌 麹菌", "味噌の甘みはどこから来ますか？"),
    ],
}


def _why(draw: Draw) -> Talk:
    query, question = draw.pick(_WHY.get(draw.locale, _WHY["en"]))
    yield draw.user({draw.locale: [question], "en": [question]})
    (hits,) = yield draw.use(call("search_knowledge", query=query, limit=1))
    (article,) = yield draw.use(call("read_article", article_id=hits.value[0]["id"]))
    parts = article.value["body"].split("\n")
    yield draw.answer({"en": ["{a}\n{b}"], "zh": ["{a}\n{b}"], "ja": ["{a}\n{b}"]}, a=parts[0], b=parts[-1])


def math_tutor(draw: Draw) -> Talk:
    """Practise sums: a slope, an average, a root; the tutor meets zero divisors and missing numbers."""
    yield draw.user(
        {
            "en": [
                "Can you practise with me for the maths test?",
                "I have a test on slopes and averages tomorrow. Help!",
            ],
            "zh": ["明天数学考试，能陪我练习吗？", "请出几道题帮我复习。"],
            "ja": ["明日の数学のテスト勉強を手伝ってください。", "傾きと平均の練習がしたいです。"],
        }
    )
    yield draw.answer(
        {
            "en": ["Gladly. Give me two points or a list of numbers.", "Sure. Show me the first exercise."],
            "zh": ["好的，先把第一题发给我。"],
            "ja": ["もちろんです。最初の問題を見せてください。"],
        }
    )
    for _ in range(draw.rounds(1, 3, 6, 24)):
        yield from draw.pick([_slope, _average, _root])(draw)


def _slope(draw: Draw) -> Talk:
    x1, y1, y2 = draw.number(-6, 6), draw.number(-9, 9), draw.number(-9, 9)
    x2 = x1 if draw.often(0.35) else x1 + draw.number(1, 7)
    yield draw.user(
        {
            "en": [
                "Slope through ({x1}, {y1}) and ({x2}, {y2})?",
                "What is the slope of the line from ({x1}|{y1}) to ({x2}|{y2})?",
            ],
            "zh": ["过点 ({x1}, {y1}) 和 ({x2}, {y2}) 的直线斜率是多少？"],
            "ja": ["点 ({x1}, {y1}) と ({x2}, {y2}) を通る直線の傾きは？"],
        },
        x1=x1,
        y1=y1,
        x2=x2,
        y2=y2,
    )
    (slope,) = yield draw.use(call("calculator", expression=f"({y2} - {y1}) / ({x2} - {x1})"))
    if slope.ok:
        yield draw.answer(
            {
                "en": [
                    "Rise over run: {value:.4g}.",
                    "Δy / Δx = {value:.4g}. Do you see why the sign comes out that way?",
                ],
                "zh": ["斜率 = Δy / Δx = {value:.4g}。"],
                "ja": ["傾きは Δy / Δx = {value:.4g} です。"],
            },
            value=slope.value["value"],
        )
    else:
        yield draw.answer(
            {
                "en": [
                    "Both points have x = {x}, so the run is zero and the line is vertical: it has no slope ({error})."
                ],
                "zh": ["两点的 x 都是 {x}，直线竖直，没有斜率（{error}）。"],
                "ja": ["どちらも x = {x} なので垂直な直線で、傾きは定義されません（{error}）。"],
            },
            x=x1,
            error=slope.text,
        )


def _average(draw: Draw) -> Talk:
    values = [draw.number(1, 100) for _ in range(draw.pick([1, 4, 5, 6, 8]))]
    yield draw.user(
        {
            "en": ["Mean and deviation of {values}?"],
            "zh": ["{values} 的平均数和标准差是多少？"],
            "ja": ["{values} の平均と標準偏差は？"],
        },
        values=", ".join(map(str, values)),
    )
    (summary,) = yield draw.use(call("describe_numbers", values=values))
    if summary.ok:
        yield draw.answer(
            {
                "en": [
                    "Mean {mean}, median {median}, deviation {stdev}. Which of the two middles would an outlier move?"
                ],
                "zh": ["平均数 {mean}，中位数 {median}，标准差 {stdev}。"],
                "ja": ["平均 {mean}、中央値 {median}、標準偏差 {stdev} です。"],
            },
            **summary.value,
        )
    else:
        yield draw.answer(
            {
                "en": ["One number has a mean but no spread: {error}."],
                "zh": ["只有一个数，算不出标准差。"],
                "ja": ["数が一つだけでは、ばらつきは求められません。"],
            },
            error=summary.text,
        )


def _root(draw: Draw) -> Talk:
    square = draw.number(2, 40) ** 2 if draw.often(0.6) else -draw.number(2, 50)
    yield draw.user(
        {
            "en": ["√{n} = ?", "And the square root of {n}?"],
            "zh": ["{n} 的平方根呢？"],
            "ja": ["{n} の平方根は？"],
        },
        n=square,
    )
    (root,) = yield draw.use(call("calculator", expression=f"sqrt({square})"))
    if root.ok:
        yield draw.answer(
            {
                "en": ["{value}, and -{value} squares to it as well."],
                "zh": ["是 {value}，另外 -{value} 也成立。"],
                "ja": ["{value} です。-{value} も二乗すると同じです。"],
            },
            value=root.value["value"],
        )
    else:
        yield draw.answer(
            {
                "en": ["No real number squares to {n}."],
                "zh": ["负数 {n} 没有实数平方根。"],
                "ja": ["{n} の実数の平方根はありません。"],
            },
            n=square,
        )
