"""What the agent can do: real tools that compute, look up and fail, none of which needs a network."""

from collections.abc import Callable
from datetime import date
from functools import cache
from random import Random
from typing import Any

from langchain_core.tools import StructuredTool, create_schema_from_function

from tests.workflow.tools import dates, library, reckoning, texts
from tests.workflow.tools.remote import Line, Services
from tests.workflow.tools.shop import Shop

# what spends other people's money waits for a human
NEEDS_APPROVAL = frozenset({"refund_order"})

_MEETINGS = ["Stand-up", "Supplier call", "設計レビュー", "预算评审", "1:1", "Interview", "Focus time"]


class Toolbox:
    """The tools of one conversation; shop and agenda are its own and keep what was changed."""

    def __init__(self, today: date, line: Line, chance: Random) -> None:
        """Open a shop as of `today` and an agenda with a few bookings; remote tools go over `line`."""
        self._shop = Shop(today)
        remote, agenda = Services(line), _agenda(today, chance)
        functions: list[Callable[..., Any]] = [
            reckoning.calculator,
            reckoning.convert_units,
            reckoning.describe_numbers,
            texts.count_words,
            texts.compare_texts,
            texts.read_csv,
            texts.transform_json,
            library.search_knowledge,
            library.read_article,
            dates.calendar,
            agenda.free_slots,
            agenda.book_slot,
            remote.exchange_rate,
            remote.read_sensor,
            remote.search_logs,
            self._shop.order_lookup,
            self._shop.refund_order,
            self._shop.stock_query,
        ]
        self._tools: dict[str, Any] = {one.__name__: _tool(one) for one in functions}

    def run(self, name: str, args: dict[str, Any]) -> Any:
        """Check `args` against the tool's schema and run it; raises what the tool raises, LookupError if none."""
        try:
            tool = self._tools[name]
        except KeyError as error:
            message = f"there is no tool {name!r}"
            raise LookupError(message) from error
        return tool.invoke(args)

    def close(self) -> None:
        """Close the shop."""
        self._shop.close()


def _tool(function: Callable[..., Any]) -> Any:
    # a bound method is new in every conversation, its function is not
    schema = _schema(getattr(function, "__func__", function))
    return StructuredTool.from_function(function, args_schema=schema)


@cache
def _schema(function: Callable[..., Any]) -> Any:
    """Infer the arguments' schema, once a function, since it takes longer than most conversations."""
    return create_schema_from_function(function.__name__, function)


def _agenda(today: date, chance: Random) -> dates.Agenda:
    """Book the working days of the next three weeks in part."""
    agenda = dates.Agenda()
    for offset in range(1, 22):
        day = date.fromordinal(today.toordinal() + offset).isoformat()
        for hour in sorted(chance.sample(range(9, 17), k=chance.randint(2, 4))):
            agenda.book_slot(day, f"{hour:02d}:00", chance.choice([30, 45, 60]), chance.choice(_MEETINGS))
    return agenda
