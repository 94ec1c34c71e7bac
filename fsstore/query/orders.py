"""What a list is given beside its filter: an order (one path, a sign before it for descending), and bounds. Pure."""

from __future__ import annotations

from typing import Any

from fsstore.errors import StorageValidationError
from fsstore.model.values import is_text
from fsstore.query.conditions import Order
from fsstore.query.filters import parse_argument
from fsstore.query.operands import meant_order, order_in_words

RECENT_FIRST = Order(("updated_at",), descending=True)
"""The order where none is asked for."""


def parse_order(order_by: str | None) -> Order:
    """Understand `order_by`: a path, `-` before it for descending; None is the most recently updated first.

    Raises StorageValidationError for what is no path.
    """
    if order_by is None:
        return RECENT_FIRST
    path, sign = order_path(order_by)
    return Order(parse_argument(path, "order_by"), descending=bool(sign))


def order_path(order_by: Any) -> tuple[str, str]:
    """Return the path of an order, and its sign. Raises StorageValidationError for what is no path."""
    if (
        not isinstance(order_by, str)
        or not is_text(order_by)
        or order_by in ("", "-")
        or order_by != order_in_words(order_by)
    ):
        raise StorageValidationError(
            reason=f"must be one path, not {order_by!r}",
            path="order_by",
            advice=f'write it as text, - before it for descending: order_by="{meant_order(order_by)}"',
        )
    sign = "-" if order_by.startswith("-") else ""
    path = order_by.removeprefix("-")
    parse_argument(path, "order_by")
    return path, sign


def check_bounds(limit: int | None, offset: int) -> None:
    """Raise StorageValidationError unless limit and offset are counts."""
    for name, value in (("limit", 0 if limit is None else limit), ("offset", offset)):
        if type(value) is not int or value < 0:
            raise StorageValidationError(reason=f"must be a whole number, zero or more, not {value!r}", path=name)


def check_batch_size(batch_size: int) -> None:
    """Raise StorageValidationError unless it is a positive count."""
    if type(batch_size) is not int or batch_size < 1:
        raise StorageValidationError(reason=f"must be a positive whole number, not {batch_size!r}", path="batch_size")
