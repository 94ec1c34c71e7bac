"""Bills, budgets, currencies and invoices."""
# ruff: noqa: E501, RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

from tests.workflow.scenarios.script import Draw, Talk, call

PLACES = {
    "en": ["the ramen bar", "the little bistro", "karaoke", "the climbing gym", "the rooftop place"],
    "zh": ["火锅店", "川菜馆", "KTV", "海边那家餐厅", "茶餐厅"],
    "ja": ["居酒屋", "焼肉屋", "カラオケ", "喫茶店", "温泉旅館"],
}


def split_bill(draw: Draw) -> Talk:
    """Share a bill, then again after someone drops out; dividing among nobody fails."""
    people, total, tip = (
        draw.number(3, 11),
        draw.number(4_800, 62_000) / 100,
        draw.pick([0, 5, 10, 12, 15, 18]),
    )
    place = draw.words(PLACES)
    yield draw.user(
        {
            "en": [
                "We were {n} at {place} and the bill is {total:.2f}. Split it evenly with a {tip} % tip, please.",
                "How much does each of {n} people pay? {place}, {total:.2f} in all, plus {tip} percent.",
                "Bill from {place}: {total:.2f}. {n} of us, tip {tip} %. What is each share?",
            ],
            "zh": [
                "我们{n}个人在{place}吃饭，一共 {total:.2f}，加 {tip}% 小费，每人多少？",
                "{place}的账单是 {total:.2f}，{n}个人平摊，小费按 {tip}% 算。",
            ],
            "ja": [
                "{place}で{n}人、合計 {total:.2f} でした。{tip}% 上乗せして割り勘にするといくらですか？",
                "{n}人で割り勘したいです。{place}の会計は {total:.2f}、サービス料 {tip}% です。",
            ],
        },
        n=people,
        place=place,
        total=total,
        tip=tip,
    )
    (share,) = yield draw.use(call("calculator", expression=f"round({total} * (100 + {tip}) / 100 / {people}, 2)"))
    each = share.value["value"]
    yield draw.answer(
        {
            "en": [
                "Each of you pays {each}. That covers the tip of {tip} %.",
                "{each} a head, tip of {tip} % included.",
            ],
            "zh": ["每人 {each}，已包含 {tip}% 小费。", "平摊下来每人付 {each}（含 {tip}% 小费）。"],
            "ja": ["一人あたり {each} です（{tip}% 込み）。", "{tip}% を含めて、お一人 {each} になります。"],
        },
        each=each,
        tip=tip,
    )
    if draw.often(0.6):
        yield from _someone_leaves(draw, total, people)


def _someone_leaves(draw: Draw, total: float, people: int) -> Talk:
    yield draw.user(
        {
            "en": [
                "Everyone from my team already paid, so who is left? Divide it by {n} minus {n}.",
                "And if all {n} of us had a voucher?",
            ],
            "zh": ["如果{n}个人都有免单券呢？", "要是大家都已经付过了，剩下的人怎么分？"],
            "ja": ["{n}人全員がクーポンを持っていたら？", "全員が支払い済みなら、残りはどう割りますか？"],
        },
        n=people,
    )
    (result,) = yield draw.use(call("calculator", expression=f"{total} / ({people} - {people})"))
    left = max(1, people - draw.number(1, 2))
    (again,) = yield draw.use(call("calculator", expression=f"round({total} / {left}, 2)"))
    yield draw.answer(
        {
            "en": [
                "Nobody would be left to pay, and I cannot divide by zero ({error}). With {left} people it is {each} each.",
            ],
            "zh": ["没有人需要付款，除以零没有意义。若由{left}人分担，每人 {each}。"],
            "ja": ["支払う人がいないため、ゼロでは割れません。{left}人なら一人 {each} です。"],
        },
        error=result.text,
        left=left,
        each=again.value["value"],
    )


POSTS = {
    "en": [
        "rent",
        "groceries",
        "train pass",
        "phone",
        "insurance",
        "eating out",
        "books",
        "bike repair",
        "gifts",
    ],
    "zh": ["房租", "买菜", "地铁", "话费", "保险", "外卖", "书", "健身", "礼物"],
    "ja": ["家賃", "食費", "定期券", "通信費", "保険", "外食", "本", "自転車修理", "交際費"],
}


def monthly_budget(draw: Draw) -> Talk:
    """Add up a month, describe it, then ask what is left of an income."""
    posts = draw.chance.sample(POSTS.get(draw.locale, POSTS["en"]), k=draw.number(4, 8))
    spent = {post: draw.number(900, 98_000) / 100 for post in posts}
    listing = ", ".join(f"{post} {amount:.2f}" for post, amount in spent.items())
    yield draw.user(
        {
            "en": [
                "Here is my month so far: {listing}. Where do I stand?",
                "Budget check please: {listing}.",
            ],
            "zh": ["这个月的支出：{listing}。帮我看看情况。", "帮我算一下本月花了多少：{listing}"],
            "ja": [
                "今月の支出です：{listing}。合計と内訳を教えてください。",
                "家計簿をつけました。{listing} どうでしょう？",
            ],
        },
        listing=listing,
    )
    (summary,) = yield draw.use(call("describe_numbers", values=list(spent.values())))
    top = max(spent, key=lambda post: spent[post])
    yield draw.answer(
        {
            "en": [
                "You spent {total} on {count} things; the largest is {top} with {most}. On average {mean}.",
                "In total {total}. {top} alone takes {most}; the median post is {median}.",
            ],
            "zh": ["合计 {total}，共{count}项，最大的一项是{top}（{most}），平均 {mean}。"],
            "ja": ["合計は {total}（{count}件）です。最も大きいのは{top}の {most}、平均は {mean} です。"],
        },
        top=top,
        most=spent[top],
        **summary.value,
    )
    yield from _saving(draw, income=draw.number(1800, 5200))


def _saving(draw: Draw, *, income: int) -> Talk:
    for _ in range(draw.rounds(0, 1, 2, 4)):
        months, rate = draw.number(3, 36), draw.pick([5, 8, 10, 15, 20])
        yield draw.user(
            {
                "en": [
                    "If I earn {income} and put {rate} % aside, what do I have after {months} months?",
                    "With an income of {income}, saving {rate} percent for {months} months: how much?",
                ],
                "zh": ["我月收入 {income}，每月存 {rate}%，{months}个月后有多少？"],
                "ja": ["月収 {income} のうち {rate}% を貯金すると、{months}か月でいくらになりますか？"],
            },
            income=income,
            rate=rate,
            months=months,
        )
        (saved,) = yield draw.use(call("calculator", expression=f"{income} * {rate} / 100 * {months}"))
        yield draw.answer(
            {
                "en": ["After {months} months you would have {saved}.", "{saved}, without interest."],
                "zh": ["{months}个月后大约有 {saved}（不计利息）。"],
                "ja": ["{months}か月後には {saved} になります（利息は含みません）。"],
            },
            months=months,
            saved=saved.value["value"],
        )


CURRENCIES = ["EUR", "JPY", "CNY", "GBP", "CHF", "SEK", "KRW"]


def currency_exchange(draw: Draw) -> Talk:
    """Convert an amount at the rate of a day; a mistyped currency is refused."""
    for _ in range(draw.rounds(1, 1, 3, 8)):
        yield from _one_amount(draw)


def _one_amount(draw: Draw) -> Talk:
    base, quote = draw.chance.sample(CURRENCIES, k=2)
    amount, day = draw.number(2, 400) * 5, draw.day(-draw.number(0, 25))
    asked = {"JPY": "YEN", "CNY": "RMB", "GBP": "UKP"}.get(quote, quote) if draw.often(0.4) else quote
    yield draw.user(
        {
            "en": [
                "What is {amount} {base} in {quote} at the rate of {day}?",
                "I paid {amount} {base} on {day}. How much is that in {quote} for the expense report?",
            ],
            "zh": [
                "{day} 的汇率，{amount} {base} 等于多少 {quote}？",
                "我在 {day} 付了 {amount} {base}，报销要换成 {quote}。",
            ],
            "ja": [
                "{day} のレートで {amount} {base} は何 {quote} ですか？",
                "精算用に {amount} {base} を {quote} に直してください（{day}）。",
            ],
        },
        amount=amount,
        base=base,
        quote=asked,
        day=day,
    )
    (rate,) = yield draw.use(call("exchange_rate", base=base, quote=asked, day=day))
    if not rate.ok:
        (rate,) = yield draw.use(call("exchange_rate", base=base, quote=quote, day=day))
    (worth,) = yield draw.use(call("calculator", expression=f"round({amount} * {rate.value['rate']}, 2)"))
    yield draw.answer(
        {
            "en": [
                "{amount} {base} were {worth} {quote} on {day} (rate {rate}).",
                "That is {worth} {quote}, at {rate}.",
            ],
            "zh": ["{day} 的汇率是 {rate}，{amount} {base} 约合 {worth} {quote}。"],
            "ja": ["{day} のレートは {rate} で、{amount} {base} は {worth} {quote} です。"],
        },
        amount=amount,
        base=base,
        quote=quote,
        day=day,
        rate=rate.value["rate"],
        worth=worth.value["value"],
    )
