"""Tools that compute: arithmetic, units, descriptive statistics."""

import ast
import math
import operator
import statistics
from collections.abc import Callable
from typing import Any

from langchain_core.tools import ToolException


def _square_root(number: float) -> float:
    if number < 0:
        # the interpreter's own wording differs between versions, and sample data may not
        message = f"{number} has no real square root"
        raise ValueError(message)
    return math.sqrt(number)


_LONGEST_EXPRESSION = 400
_LARGEST_EXPONENT = 64
_INT64 = 2**63
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": _square_root,
}
# unit -> (dimension, factor to the dimension's base unit); temperatures are not proportional and go their own way
_UNITS = {
    "mm": ("length", 0.001), "cm": ("length", 0.01), "m": ("length", 1.0), "km": ("length", 1000.0),
    "in": ("length", 0.0254), "ft": ("length", 0.3048), "mi": ("length", 1609.344),
    "g": ("mass", 0.001), "kg": ("mass", 1.0), "oz": ("mass", 0.028349523125), "lb": ("mass", 0.45359237),
    "ml": ("volume", 0.001), "l": ("volume", 1.0), "tsp": ("volume", 0.00492892159375),
    "tbsp": ("volume", 0.01478676478125), "cup": ("volume", 0.2365882365),
    "s": ("time", 1.0), "min": ("time", 60.0), "h": ("time", 3600.0),
    "m/s": ("speed", 1.0), "km/h": ("speed", 1 / 3.6), "mph": ("speed", 0.44704),
    "KiB": ("data", 1024.0), "MiB": ("data", 1048576.0), "MB": ("data", 1_000_000.0), "GB": ("data", 1e9),
}  # fmt: skip
_TO_KELVIN: dict[str, Callable[[float], float]] = {
    "K": lambda kelvin: kelvin,
    "°C": lambda celsius: celsius + 273.15,
    "°F": lambda fahrenheit: (fahrenheit + 459.67) * 5 / 9,
}
_FROM_KELVIN: dict[str, Callable[[float], float]] = {
    "K": lambda kelvin: kelvin,
    "°C": lambda kelvin: kelvin - 273.15,
    "°F": lambda kelvin: kelvin * 9 / 5 - 459.67,
}


def calculator(expression: str) -> dict[str, Any]:
    """Evaluate an arithmetic expression: numbers, + - * / // % **, parentheses, round, sqrt, min, max."""
    if len(expression) > _LONGEST_EXPRESSION:
        message = f"expression has {len(expression)} characters, at most {_LONGEST_EXPRESSION} are allowed"
        raise ToolException(message)
    try:
        value = _value_of(ast.parse(expression, mode="eval").body)
    except SyntaxError as error:
        message = f"not an arithmetic expression: {expression!r}"
        raise ToolException(message) from error
    except ZeroDivisionError as error:
        # worded here for the same reason as the square root
        message = f"division by zero in {expression!r}"
        raise ZeroDivisionError(message) from error
    return {"expression": expression, "value": _plain(value)}


def convert_units(value: float, from_unit: str, to_unit: str) -> dict[str, Any]:
    """Convert a quantity between units of length, mass, volume, time, speed, data or temperature."""
    if from_unit in _TO_KELVIN and to_unit in _TO_KELVIN:
        converted = _FROM_KELVIN[to_unit](_TO_KELVIN[from_unit](value))
    else:
        (dimension, factor), (other, divisor) = _unit(from_unit), _unit(to_unit)
        if dimension != other:
            message = f"{from_unit} measures {dimension}, {to_unit} measures {other}"
            raise ToolException(message)
        converted = value * factor / divisor
    return {"value": _plain(value), "from": from_unit, "to": to_unit, "result": _plain(round(converted, 4))}


def describe_numbers(values: list[float]) -> dict[str, Any]:
    """Describe at least two numbers: count, mean, median, standard deviation, extremes, total."""
    if len(values) < 2:
        message = f"at least two numbers are needed, got {len(values)}"
        raise ToolException(message)
    return {
        "count": len(values),
        "mean": _plain(round(statistics.fmean(values), 4)),
        "median": _plain(statistics.median(values)),
        "stdev": _plain(round(statistics.stdev(values), 4)),
        "min": _plain(min(values)),
        "max": _plain(max(values)),
        "total": _plain(round(math.fsum(values), 4)),
    }


def _unit(name: str) -> tuple[str, float]:
    try:
        return _UNITS[name]
    except KeyError as error:
        known = ", ".join([*_UNITS, *_TO_KELVIN])
        message = f"unknown unit {name!r}; known: {known}"
        raise ToolException(message) from error


def _value_of(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value_of(operand))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value_of(left), _value_of(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value_of(left), _value_of(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*map(_value_of, args))
    message = f"not allowed in an expression: {ast.unparse(node)}"
    raise ToolException(message)


def _power(base: float, exponent: float) -> Any:
    if abs(exponent) > _LARGEST_EXPONENT:
        message = f"exponent {exponent} is beyond {_LARGEST_EXPONENT}"
        raise ToolException(message)
    return base**exponent


def _plain(number: float) -> int | float:
    """Give whole numbers as int and drop the last digits of a float, which may differ between C libraries."""
    if isinstance(number, float) and not number.is_integer():
        return round(number, 10)
    if not -_INT64 <= number < _INT64:
        message = f"the result {number:.6g} does not fit in 64 bits"
        raise ToolException(message)
    return int(number)
