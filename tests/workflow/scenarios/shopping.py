"""Orders, refunds and stock of a small shop."""
# ruff: noqa: E501, RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

from tests.workflow.scenarios.script import Draw, Reply, Result, Talk, Wordings, call
from tests.workflow.tools.shop import order_ids


def order_status(draw: Draw) -> Talk:
    """Look up an order, often mistyped at first; the shop's rules come from the knowledge base."""
    order = draw.pick(order_ids())
    typed = order.replace("A-1", draw.pick(["A1", "B-1", "A-7"])) if draw.often(0.55) else order
    yield draw.user(
        {
            "en": [
                "Hi, where is my order {order}?",
                "Can you tell me when {order} arrives?",
                "My parcel {order} should have been here by now. What happened?",
            ],
            "zh": ["你好，我的订单 {order} 到哪里了？", "请帮我查一下 {order} 的物流。"],
            "ja": ["注文 {order} は今どこにありますか？", "{order} がまだ届きません。確認をお願いします。"],
        },
        order=typed,
    )
    (found,) = yield draw.use(call("order_lookup", order_id=typed))
    if not found.ok:
        yield draw.answer(
            {
                "en": [
                    "I cannot find {order}. Could you check the number on your confirmation?",
                    "There is no order {order} in the system. It should look like A-1007.",
                ],
                "zh": ["没有找到订单 {order}，请再核对一下订单号（例如 A-1007）。"],
                "ja": ["注文 {order} は見つかりませんでした。番号（例：A-1007）をもう一度ご確認ください。"],
            },
            order=typed,
        )
        yield draw.user(
            {
                "en": ["Sorry, it is {order}.", "Oops, {order}."],
                "zh": ["抱歉，是 {order}。"],
                "ja": ["失礼しました、{order} です。"],
            },
            order=order,
        )
        (found,) = yield draw.use(call("order_lookup", order_id=order))
    yield _where_it_is(draw, found)
    for _ in range(draw.rounds(0, 1, 3, 6)):
        yield from _ask_the_rules(draw)


def _where_it_is(draw: Draw, found: Result) -> Reply:
    return draw.answer(
        {
            "en": [
                "{quantity} × {item}, ordered on {placed_on}: {status}. Carrier: {carrier}.",
                'Your {item} (order {order_id}) is marked "{status}". It travels with {carrier} and was placed on {placed_on}.',
            ],
            "zh": ["订单 {order_id}：{item} × {quantity}，{placed_on} 下单，状态为“{status}”，承运方{carrier}。"],
            "ja": ["ご注文 {order_id}（{item}、{quantity}点、{placed_on}）の状況は「{status}」、配送は{carrier}です。"],
        },
        **found.value,
    )


_RULES = {
    "en": [("returns refund damaged", "What if it arrives damaged?"), ("shipping times carriers parcel", "How long does shipping abroad take?"),
           ("parcel lost depot", "And if nobody is at home?")],
    "zh": [("退货 退款 运费", "不喜欢可以退吗？运费谁出？"), ("签收 退货 刀具", "茶叶打开了还能退吗？")],
    "ja": [("返品 返金", "気に入らなかったら返品できますか？"), ("破損品 返送料", "壊れていた場合、送料はかかりますか？")],
}  # fmt: skip


def _ask_the_rules(draw: Draw) -> Talk:
    query, question = draw.pick(_RULES.get(draw.locale, _RULES["en"]))
    yield draw.user({draw.locale: [question], "en": [question]})
    (hits,) = yield draw.use(call("search_knowledge", query=query, limit=2))
    (article,) = yield draw.use(call("read_article", article_id=hits.value[0]["id"]))
    rule = max(article.value["body"].split("\n"), key=lambda part: _hits(part, query))
    yield draw.answer(
        {
            "en": ['From "{title}": {rule}'],
            "zh": ["根据《{title}》：{rule}"],
            "ja": ["「{title}」によると、{rule}"],
        },
        title=article.value["title"],
        rule=rule,
    )


def _hits(text: str, query: str) -> int:
    return sum(word in text.lower() for word in query.split())


def refund(draw: Draw) -> Talk:
    """Refund part of an order: too much is refused by the shop, the rest waits for a human."""
    order, share = draw.pick(order_ids()), draw.pick([25, 40, 50, 100])
    reason = draw.words(
        {
            "en": ["chipped on arrival", "wrong colour", "one piece missing", "arrived two weeks late"],
            "zh": ["到货时有破损", "颜色发错了", "少了一件", "晚到了两周"],
            "ja": ["届いた時に欠けていた", "色違いだった", "一点足りない", "二週間遅れて届いた"],
        }
    )
    yield draw.user(
        {
            "en": [
                "I would like {share} % of {order} back: {reason}.",
                "{order}: {reason}. Please refund {share} percent.",
            ],
            "zh": ["订单 {order} {reason}，希望退 {share}%。"],
            "ja": ["{order} の {share}% を返金してください。{reason}ためです。"],
        },
        order=order,
        share=share,
        reason=reason,
    )
    (found,) = yield draw.use(call("order_lookup", order_id=order))
    total = found.value["total"]
    amount = round(total * share / 100, 2) if draw.often(0.75) else round(total * 1.2, 2)
    (paid,) = yield draw.use(call("refund_order", order_id=order, amount=amount, reason=reason))
    if not paid.ok and "is left" in paid.text:
        amount = round(total * share / 100, 2)
        (paid,) = yield draw.use(call("refund_order", order_id=order, amount=amount, reason=reason))
    yield _refunded(draw, paid)
    if draw.often(0.4):
        yield from _ask_the_rules(draw)


def _refunded(draw: Draw, paid: Result) -> Reply:
    if paid.ok:
        return draw.answer(
            {
                "en": [
                    "{refunded:.2f} are on their way back to your card; {left:.2f} of {order_id} stay paid.",
                    "Done: {refunded:.2f} refunded for {order_id}. Allow five working days.",
                ],
                "zh": ["已退款 {refunded:.2f}，五个工作日内原路到账。订单 {order_id} 剩余 {left:.2f}。"],
                "ja": ["{refunded:.2f} を返金しました。五営業日ほどでカードに戻ります（{order_id}）。"],
            },
            **paid.value,
        )
    return draw.answer(
        {
            "en": ["I am sorry, the refund was not approved. I can offer a repair or a replacement instead."],
            "zh": ["很抱歉，退款没有通过审批。可以为您安排维修或换货。"],
            "ja": ["申し訳ございません、返金は承認されませんでした。修理または交換をご案内できます。"],
        }
    )


_REPORTS: list[tuple[Wordings, str, str]] = [
    ({"en": ["low stock"], "zh": ["低库存"], "ja": ["在庫僅少"]}, "SELECT sku, name, onhand FROM stock WHERE on_hand < reorder_at",
     "SELECT sku, name, on_hand, reorder_at FROM stock WHERE on_hand < reorder_at ORDER BY on_hand"),
    ({"en": ["margin"], "zh": ["毛利"], "ja": ["粗利"]}, "SELECT name, prize - cost AS margin FROM stock",
     "SELECT name, round(price - cost, 2) AS margin, round((price - cost) / price, 3) AS share FROM stock ORDER BY 3 DESC"),
    ({"en": ["warehouse"], "zh": ["仓库"], "ja": ["倉庫別"]}, "SELECT warehouse, sum(on_hand * cost) FROM stok GROUP BY warehouse",
     "SELECT warehouse, count(*) AS articles, round(sum(on_hand * cost), 2) AS value FROM stock GROUP BY warehouse"),
    ({"en": ["open orders"], "zh": ["在途订单"], "ja": ["配送中の注文"]}, "SELECT * FROM orders WHERE state = 'in transit'",
     "SELECT order_id, sku, quantity, placed_on, carrier FROM orders WHERE status = 'in transit' ORDER BY placed_on LIMIT 15"),
    ({"en": ["carrier"], "zh": ["承运商"], "ja": ["運送会社"]}, "SELECT carrier, avg(days) FROM orders GROUP BY carrier",
     "SELECT carrier, count(*) AS orders, round(sum(total), 2) AS value FROM orders GROUP BY carrier ORDER BY orders DESC"),
]  # fmt: skip


def stock_report(draw: Draw) -> Talk:
    """Answer questions about the shop in SQL; the first attempt often names a column that is not there."""
    count = min(len(_REPORTS), draw.rounds(1, 2, 4, 5))
    for topic, guess, query in draw.chance.sample(_REPORTS, k=count):
        yield draw.user(
            {
                "en": [
                    "Report on {topic}, please.",
                    "Can I have the {topic} numbers?",
                    "What does the {topic} picture look like today?",
                ],
                "zh": ["请给我一份{topic}报表。", "今天的{topic}情况怎么样？"],
                "ja": ["{topic}のレポートをお願いします。", "今日の{topic}はどうなっていますか？"],
            },
            topic=draw.words(topic),
        )
        (rows,) = yield draw.use(call("stock_query", sql=guess if draw.often(0.5) else query))
        if not rows.ok:
            (rows,) = yield draw.use(call("stock_query", sql=query))
        listing = "\n".join("- " + ", ".join(str(cell) for cell in row.values()) for row in rows.value)
        yield draw.answer(
            {
                "en": ["{n} rows:\n{listing}", "Here it is ({n}):\n{listing}"],
                "zh": ["共 {n} 行：\n{listing}"],
                "ja": ["{n}件です。\n{listing}"],
            },
            n=len(rows.value),
            listing=listing,
        )
