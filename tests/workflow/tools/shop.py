"""A small shop in an in-memory SQLite database: orders that can be looked up and refunded, stock to query."""

import sqlite3
from datetime import date, timedelta
from random import Random
from typing import Any

from langchain_core.tools import ToolException

# sku, name, unit price, unit cost, on hand, reorder at, warehouse
_STOCK = [
    ("KET-17", "Gooseneck kettle 1.7 l", 59.0, 31.2, 42, 15, "north"),
    ("LMP-02", "Clamp lamp, brass", 84.5, 40.0, 9, 12, "north"),
    ("TEA-50", "静冈煎茶 50 g", 12.8, 6.1, 310, 80, "harbour"),
    ("MUG-SET", "Stoneware mugs, set of 4", 46.0, 19.9, 77, 25, "harbour"),
    ("BAG-RL", "Roll-top backpack 22 l", 98.0, 47.5, 18, 20, "north"),
    ("NTB-A5", "方眼ノート A5", 6.4, 2.2, 540, 150, "harbour"),
    ("PEN-FX", "Fountain pen, extra fine", 34.0, 13.6, 61, 20, "harbour"),
    ("CHR-OAK", "Oak stool", 129.0, 71.0, 4, 6, "south"),
    ("RUG-120", "Wool rug 120 by 180 cm", 219.0, 118.0, 11, 5, "south"),
    ("SPK-BT", "Bluetooth speaker 便携音箱", 74.9, 38.3, 33, 15, "north"),
    ("UMB-CL", "Clear umbrella ビニール傘", 9.9, 3.1, 205, 60, "harbour"),
    ("KNF-SAN", "Santoku knife 17 cm", 112.0, 58.4, 16, 8, "south"),
]
_CARRIERS = ["Parcel Nord", "Kitefreight", "顺风达", "はやぶさ便"]
_ORDERS = 60
_ENDS = ["delivered", "delivered", "delivered", "delivered", "returned"]
_PACKED_AFTER_DAYS, _ARRIVES_AFTER_DAYS = 2, 9
_TOP_ROWS = 50


class Shop:
    """Sixty recent orders and twelve products; the same ones for the same day."""

    def __init__(self, today: date) -> None:
        """Fill a fresh database with orders placed within the 45 days before `today`."""
        # nodes may run in a thread of the graph's pool; one runs at a time
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute(
            "CREATE TABLE stock (sku TEXT PRIMARY KEY, name, price REAL, cost REAL,"
            " on_hand INT, reorder_at INT, warehouse)"
        )
        self._db.executemany("INSERT INTO stock VALUES (?, ?, ?, ?, ?, ?, ?)", _STOCK)
        self._db.execute(
            "CREATE TABLE orders (order_id TEXT PRIMARY KEY, sku, quantity INT, total REAL, status,"
            " placed_on, carrier, refunded REAL NOT NULL DEFAULT 0)"
        )
        orders = [_order(number, today) for number in range(_ORDERS)]
        self._db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, 0)", orders)

    def order_lookup(self, order_id: str) -> dict[str, Any]:
        """Look up an order by its id, such as A-1007."""
        row = self._db.execute(
            "SELECT orders.*, stock.name AS item FROM orders JOIN stock USING (sku) WHERE order_id = ?",
            [order_id],
        ).fetchone()
        if row is None:
            message = f"no order {order_id!r}"
            raise ToolException(message)
        return dict(row)

    def refund_order(self, order_id: str, amount: float, reason: str) -> dict[str, Any]:
        """Refund part or all of an order; never more than was paid and not yet refunded."""
        order = self.order_lookup(order_id)
        left = round(order["total"] - order["refunded"], 2)
        if not 0 < amount <= left:
            message = f"cannot refund {amount:.2f} of {order_id}: {left:.2f} is left"
            raise ToolException(message)
        self._db.execute("UPDATE orders SET refunded = refunded + ? WHERE order_id = ?", [amount, order_id])
        return {"order_id": order_id, "refunded": amount, "left": round(left - amount, 2), "reason": reason}

    def stock_query(self, sql: str) -> list[dict[str, Any]]:
        """Run one SELECT over stock(sku, name, price, cost, on_hand, reorder_at, warehouse) or orders."""
        if not sql.lstrip().upper().startswith("SELECT"):
            message = "only SELECT is allowed"
            raise ToolException(message)
        try:
            return [dict(row) for row in self._db.execute(sql).fetchmany(_TOP_ROWS)]
        except sqlite3.Error as error:
            raise ToolException(str(error)) from error

    def close(self) -> None:
        """Drop the database."""
        self._db.close()


def _order(number: int, today: date) -> tuple[str, str, int, float, str, str, str]:
    chance = Random(f"order {number}")
    sku, _, price, *_ = chance.choice(_STOCK)
    quantity = chance.choice([1, 1, 1, 2, 2, 3, 6])
    placed = today - timedelta(days=number % 45 + 1)
    status = _status((today - placed).days, chance)
    total = round(price * quantity, 2)
    return f"A-{1001 + number}", sku, quantity, total, status, placed.isoformat(), chance.choice(_CARRIERS)


def _status(age_days: int, chance: Random) -> str:
    if age_days <= _PACKED_AFTER_DAYS:
        return "packing"
    return "in transit" if age_days <= _ARRIVES_AFTER_DAYS else chance.choice(_ENDS)


def order_ids() -> list[str]:
    """Return the ids of all orders that a shop holds."""
    return [f"A-{1001 + number}" for number in range(_ORDERS)]
