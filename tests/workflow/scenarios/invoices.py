"""Invoices that arrive as CSV and are checked line by line: the conversations that grow long."""
# ruff: noqa: RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

from tests.workflow.scenarios.script import Draw, Talk, call

_ARTICLES = {
    "en": [
        "Toner, black",
        "Shelf bracket",
        "Cleaning, weekly",
        "Network cable 5 m",
        "Desk lamp",
        "Courier, express",
    ],
    "zh": ["打印纸 A4", "墨盒", "办公椅", "快递费", "会议室租用", "网线 5 米"],
    "ja": ["コピー用紙 A4", "トナー", "会議用椅子", "宅配便", "清掃（週次）", "LANケーブル 5m"],
}
_SUPPLIERS = ["Northlight Supplies", "蓝湾办公", "みなと事務機", "Quarry & Sons", "Fjord Paper"]


def invoice_check(draw: Draw) -> Talk:
    """Read an invoice, total it by supplier, recompute lines and find the wrong one."""
    for number in range(draw.rounds(1, 1, 3, 9)):
        yield from _one_invoice(draw, first=number == 0)
    yield draw.user(
        {
            "en": [
                "That is all for today. Can you sum up what I need to send back?",
                "Good. What is left for me to do?",
            ],
            "zh": ["今天就这些，有哪些需要退回？", "好的，我还需要做什么？"],
            "ja": [
                "今日はここまでです。差し戻すものをまとめてください。",
                "了解です。残りの作業は何ですか？",
            ],
        }
    )
    yield draw.answer(
        {
            "en": [
                "Send back the lines I marked and ask for a corrected invoice; the rest can be paid by {day}.",
                "Only the marked lines. I would hold payment until {day} and pay everything else now.",
            ],
            "zh": ["标记的行需要退回并重开发票，其余可以在 {day} 前付款。"],
            "ja": ["印を付けた行だけ差し戻してください。それ以外は {day} までにお支払いいただけます。"],
        },
        day=draw.day(draw.number(7, 30)),
    )


def _one_invoice(draw: Draw, *, first: bool) -> Talk:
    lines = [_line(draw) for _ in range(draw.number(4, 10))]
    wrong = draw.number(0, len(lines) - 1)
    lines[wrong][4] = round(float(lines[wrong][4]) + draw.number(1, 400) / 10, 2)
    text = "supplier,article,quantity,price,total\n" + "\n".join(",".join(map(str, line)) for line in lines)
    yield draw.user(
        {
            "en": ["Please check this invoice:\n{text}"]
            if first
            else ["Next one:\n{text}", "And this one, same check:\n{text}"],
            "zh": ["请核对这张发票：\n{text}"] if first else ["下一张：\n{text}", "还有这一张：\n{text}"],
            "ja": ["この請求書を確認してください。\n{text}"]
            if first
            else ["次です。\n{text}", "こちらもお願いします。\n{text}"],
        },
        text=text,
    )
    (rows,) = yield draw.use(call("read_csv", text=text if draw.often(0.8) else text + "\ntotal,"))
    if not rows.ok:
        (rows,) = yield draw.use(call("read_csv", text=text))
    (sums,) = yield draw.use(
        call("transform_json", rows=rows.value, steps=[{"op": "total", "by": "supplier", "field": "total"}])
    )
    checks = yield draw.use(
        *(call("calculator", expression=f"round({row['quantity']} * {row['price']}, 2)") for row in rows.value)
    )
    off = [at for at, check in enumerate(checks) if check.value["value"] != rows.value[at]["total"]]
    yield draw.answer(
        {
            "en": [
                "Line {at} ({article}) says {said} but should be {due}. By supplier: {sums}.",
                "One mismatch: {article} on line {at}, {said} instead of {due}. Totals as invoiced: {sums}.",
            ],
            "zh": ["第{at}行（{article}）写的是 {said}，应为 {due}。按供应商合计：{sums}。"],
            "ja": ["{at}行目（{article}）は {said} とありますが、正しくは {due} です。仕入先別：{sums}。"],
        },
        at=off[0] + 1,
        article=rows.value[off[0]]["article"],
        said=rows.value[off[0]]["total"],
        due=checks[off[0]].value["value"],
        sums="; ".join(f"{row['supplier']} {row['total']}" for row in sums.value),
    )


def _line(draw: Draw) -> list[str | int | float]:
    quantity, price = draw.number(1, 40), draw.number(80, 9000) / 100
    article = draw.words(_ARTICLES).replace(",", " -")
    return [draw.pick(_SUPPLIERS), article, quantity, price, round(quantity * price, 2)]
