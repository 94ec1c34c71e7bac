"""What the users ask: families of conversations, each told in many ways, languages and lengths."""
# ruff: noqa: E501 - the families are a table, one a row

from collections.abc import Callable
from dataclasses import dataclass

from tests.workflow.scenarios import (
    data,
    home,
    invoices,
    journeys,
    money,
    office,
    ops,
    research,
    shopping,
    writing,
)
from tests.workflow.scenarios.asides import ASIDES, impossible_day, thanks
from tests.workflow.scenarios.script import Draw, Talk, Wordings


@dataclass(frozen=True)
class Family:
    """One kind of conversation: who answers it, how it is filed, and how it goes."""

    play: Callable[[Draw], Talk]
    agent: str
    tags: tuple[str, ...]
    titles: Wordings
    weight: int = 4
    remote: str | None = None
    """The remote service whose failure can end it."""
    grows: bool = False
    """Whether it can fill a huge session."""


def _titles(english: str, chinese: str, japanese: str) -> Wordings:
    return {"en": [english], "zh": [chinese], "ja": [japanese]}


FAMILIES = (
    Family(money.split_bill, "finance-clerk", ("finance",), _titles("Split the bill", "聚餐分账", "割り勘")),
    Family(money.monthly_budget, "finance-clerk", ("finance", "planning"), _titles("Monthly budget", "月度预算", "今月の家計")),
    Family(money.currency_exchange, "finance-clerk", ("finance", "travel"), _titles("Exchange rates", "汇率换算", "為替の換算"), remote="rates"),
    Family(invoices.invoice_check, "finance-clerk", ("finance", "data"), _titles("Invoice check", "发票核对", "請求書の確認"), 3, grows=True),
    Family(shopping.order_status, "support-desk", ("support",), _titles("Where is my order", "订单查询", "注文の確認"), 6),
    Family(shopping.refund, "support-desk", ("support", "finance"), _titles("Refund request", "退款申请", "返金の相談"), 6),
    Family(shopping.stock_report, "data-wrangler", ("data", "retail"), _titles("Stock report", "库存报表", "在庫レポート")),
    Family(journeys.trip_plan, "travel-planner", ("travel", "planning"), _titles("Trip plan", "旅行计划", "旅行の計画"), 6, "rates"),
    Family(journeys.luggage_weight, "travel-planner", ("travel",), _titles("Luggage limits", "行李重量", "荷物の重さ"), 3),
    Family(home.recipe_scale, "kitchen-helper", ("cooking",), _titles("Recipe for more guests", "配方换算", "レシピの分量"), 5),
    Family(home.math_tutor, "math-tutor", ("study",), _titles("Maths practice", "数学练习", "数学の練習"), 5, grows=True),
    Family(writing.essay_feedback, "writing-coach", ("writing", "multilingual"), _titles("Tighten a draft", "文章精简", "原稿の推敲"), 3, grows=True),
    Family(writing.release_notes, "writing-coach", ("writing",), _titles("Release notes", "更新说明", "リリースノート"), 4),
    Family(data.json_cleanup, "data-wrangler", ("data",), _titles("Clean up a table", "表格整理", "表の整形"), 4, grows=True),
    Family(data.localization_review, "data-wrangler", ("data", "multilingual"), _titles("Interface texts", "界面文案检查", "UI文言の確認"), 4),
    Family(ops.log_triage, "ops-triage", ("ops", "incident"), _titles("Incident triage", "故障排查", "障害の調査"), 4, "logs", grows=True),
    Family(ops.sensor_check, "ops-triage", ("ops", "sensors"), _titles("Sensor check", "传感器检查", "センサー確認"), 5, "sensors", grows=True),
    Family(office.meeting_plan, "scheduler", ("planning",), _titles("Find a slot", "会议安排", "会議の調整"), 5),
    Family(office.helpdesk, "support-desk", ("support", "office"), _titles("IT help", "IT 求助", "社内ヘルプデスク"), 4),
    Family(office.small_talk, "concierge", ("demo",), _titles("Hello", "打招呼", "あいさつ"), 5),
    Family(research.research_brief, "research-scout", ("research",), _titles("Research brief", "资料整理", "調査メモ"), 5, grows=True),
)  # fmt: skip


def tell(family: Family, draw: Draw, more_turns: int, *, stumbling: bool) -> Talk:
    """Tell the family's conversation, and after it at least that many turns more.

    With `stumbling`, a question that its tool must refuse comes first.
    """
    if stumbling:
        yield from impossible_day(draw)
    yield from family.play(draw)
    for _ in range(max(more_turns, draw.number(0, draw.rounds(0, 1, 1, 2)))):
        yield from draw.pick(ASIDES)(draw)
    if draw.often(0.45):
        yield from thanks(draw)
