"""Queries of callers, taken apart into words, and put together again as PostgreSQL may run them. Pure.

What a query may read is decided by the rights of the role that runs it (`relation`). Here is decided what rights do
not: PostgreSQL lets everybody call functions that lock, notify, take another role, or run a text as a statement. So:

- A name before a parenthesis is a function without effects, a word of the language, or names columns; no other passes.
- No name begins with `pg_`, or is `information_schema`, and none is a type that reads names from the catalogs
  (`regclass` and its like): so these are out of reach.
- Parameters are written as for SQLite: `?` or `:name`. Comments are left out, and a blank stands between any two
  words, so that PostgreSQL reads no others than these; strings with a prefix, and dollar quotes, are refused.
- Not among the functions are those that make a long value of short ones: they would take the server's memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fsstore.query.relation import refused

_TOKEN = re.compile(
    r"""
      (?P<blank>\s+|--[^\n]*|/\*(?:(?!/\*|\*/).)*\*/)
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")+")
    | (?P<cast>::)
    | (?P<named>:[A-Za-z_]\w*)
    | (?P<place>\?)
    | (?P<number>\.?\d[\w.]*)
    | (?P<word>[^\W\d]\w*)
    | (?P<operator>(?:(?!--|/\*)[-+*/<>=~!@\#%^&|])+)
    | (?P<sign>[().,\[\]:])
    """,
    re.VERBOSE | re.DOTALL,
)
_FUNCTIONS = frozenset(
    """
    abs array_agg array_length array_position avg bool_and bool_or btrim cardinality ceil ceiling char_length
    character_length coalesce concat concat_ws count cume_dist date_part date_trunc dense_rank exp first_value floor
    greatest json_array_elements json_array_elements_text json_array_length json_each json_each_text
    json_extract json_extract_path json_extract_path_text json_object_keys json_typeof jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text
    jsonb_object_keys jsonb_path_exists jsonb_path_query_first jsonb_typeof lag last_value lead least left length ln log
    lower ltrim max md5 min mod mode now nth_value ntile nullif octet_length percent_rank percentile_cont
    percentile_disc position power rank replace reverse right round row_number rtrim sign split_part sqrt
    starts_with stddev strpos string_agg substr substring sum to_char to_date to_number to_timestamp trim trunc
    unnest upper variance
    """.split()  # noqa: SIM905 - as a list of strings nobody could read it
)
_WORDS = frozenset(
    """
    all and any array as between by case cast cube distinct else except exists extract filter from group grouping having
    ilike in intersect interval is join lateral like limit materialized not offset on or over rollup row select sets
    some then union using values when where
    char character decimal numeric time timestamp varchar
    """.split()  # noqa: SIM905 - the same
)
"""Words of the language, and types with a size, that a parenthesis follows."""
_CATALOG_TYPES = frozenset(
    """
    regclass regcollation regconfig regdictionary regnamespace regoper regoperator regproc regprocedure regrole regtype
    regdatabase
    """.split()  # noqa: SIM905 - the same
)
_LOCKS = frozenset({"update", "share", "no", "key"})
_BEFORE_COLUMNS = frozenset({"as", "with", "recursive"})


class Token(NamedTuple):
    """A piece of a query: what it is, and its text, that of a name in the case that counts."""

    kind: str
    text: str


class Guarded(NamedTuple):
    """A query as PostgreSQL may run it, with the values of its parameters."""

    is_with: bool
    """Whether it begins with its own WITH, of which `text` is the rest."""
    is_recursive: bool
    text: str
    params: list[Any] | dict[str, Any]


def guarded(query: str, params: Any, renamed: Mapping[str, str]) -> Guarded:
    """Return a query that was checked by `check_query`, with some functions under other names.

    Raises StorageValidationError for what may not be asked.
    """
    tokens = list(_tokens(query))
    _check(tokens)
    given: Any = {} if params is None else dict(params) if isinstance(params, Mapping) else params
    if not isinstance(given, dict | list | tuple):
        raise refused(f"parameters are a list or a mapping, not {type(params).__name__}")
    is_with = tokens[0].text == "with"
    is_recursive = is_with and len(tokens) > 1 and tokens[1].text == "recursive"
    rest = tokens[is_with + is_recursive :]
    wanted = sum(token.kind == "place" for token in tokens)
    if not isinstance(given, dict) and wanted != len(given):
        raise refused(f"it has {wanted} places for values, and {len(given)} were given")
    text = " ".join(_written(token, rest[at + 1 : at + 2], given, renamed) for at, token in enumerate(rest))
    return Guarded(is_with, is_recursive, text, given if isinstance(given, dict) else list(given))


def _tokens(query: str) -> Iterator[Token]:
    at, before, end = 0, "", query.rstrip().removesuffix(";")
    while at < len(end):
        found = _TOKEN.match(end, at)
        if found is None:
            raise refused(f"{end[at]!r} cannot stand where it stands, at offset {at}")
        kind, text = str(found.lastgroup), found[0]
        if kind in ("text", "quoted") and before in ("word", "number"):
            raise refused(f"a string or name with a prefix, at offset {at}")
        if kind != "blank":
            yield Token(kind, text.lower() if kind == "word" else text)
        at, before = found.end(), kind


def _check(tokens: list[Token]) -> None:
    for at, (kind, text) in enumerate(tokens):
        name = text[1:-1].replace('""', '"') if kind == "quoted" else text
        if kind not in ("word", "quoted"):
            continue
        if name.startswith("pg_") or name == "information_schema" or name in _CATALOG_TYPES:
            raise refused(f"{name} is not a part of the relation")
        following = tokens[at + 1].text if at + 1 < len(tokens) else ""
        if kind == "word" and name == "for" and following in _LOCKS:
            raise refused("it would lock what it reads")
        if following == "(":
            _check_called(tokens, at, kind, name)


def _check_called(tokens: list[Token], at: int, kind: str, name: str) -> None:
    before = tokens[at - 1].text if at else ""
    is_plain = kind == "word" and before != "."
    if is_plain and (name in _FUNCTIONS or name in _WORDS):
        return
    if before in _BEFORE_COLUMNS or (before == "," and _names_columns(tokens, at + 1)):
        return
    raise refused(f"the function {name} may not be called")


def _names_columns(tokens: list[Token], at: int) -> bool:
    """Whether a parenthesis holds the columns of a WITH, after which AS and its SELECT come."""
    texts = [token.text for token in tokens[at:]]
    if ")" not in texts:
        return False
    end = texts.index(")")
    are_names = all(token.kind in ("word", "quoted") or token.text == "," for token in tokens[at + 1 : at + end])
    after = texts[end + 1 : end + 3]
    return are_names and after[:1] == ["as"] and after[1:] in (["("], ["materialized"], ["not"])


def _written(token: Token, following: list[Token], params: Any, renamed: Mapping[str, str]) -> str:
    if token.kind == "place":
        if isinstance(params, dict):
            raise refused("a ? stands for a value of a list, and no list was given")
        return "%s"
    if token.kind == "named" and isinstance(params, dict):
        name = token.text[1:]
        if name not in params:
            raise refused(f"there is no parameter {name}")
        return f"%({name})s"
    if token.text in renamed and following and following[0].text == "(":
        return renamed[token.text]
    return token.text.replace("%", "%%")
