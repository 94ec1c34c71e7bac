"""How much one filter, order or query may ask for. Pure.

Who may hand in a filter must not be able to stop the program, or to take its memory: what one of them can cost is
bounded here, and whatever is beyond a bound raises StorageValidationError, which names it. A filter of the largest size
takes about a second over a thousand small sessions.
"""

MAX_FILTER_CONDITIONS = 250
"""How many conditions a filter may be made of: each path with an operator is one, each value of `$all`, and each object
or array in `$in` and `$nin`."""

MAX_FILTER_VALUES = 10_000
"""How many values a filter may compare with, those of `$in` and `$nin` together."""

MAX_FILTER_CHARACTERS = 1_000_000
"""How many characters all keys and texts of a filter may have together."""

MAX_PATH_STEPS = 200
"""How many steps a path of a filter or an order may have: no record is nested deeper."""

MAX_PATTERN_CHARACTERS = 1_000
"""How long a `$regex` may be."""

MAX_FILTER_PATTERNS = 20
"""How many `$regex` a filter may have."""

MAX_FIELDS = 1_000
"""How many fields of a record may be asked for one by one."""

MAX_FIELD_CHARACTERS = 10_000
"""How long the path of a field may be."""

MAX_QUERY_CHARACTERS = 100_000
"""How long the text of a query may be."""

MAX_QUERY_SECONDS = 10.0
"""How long a query may take; StorageTimeoutError is raised then."""

MAX_QUERY_BYTES = 64 << 20
"""How much memory the rows of an answer may take, about: 300 bytes each, and 60 and its size for each value."""

MAX_QUERY_PATTERN_BYTES = 200
"""How long a pattern for LIKE or GLOB may be within a query."""

MAX_QUERY_VALUE_BYTES = 2 << 20
"""How long one value within a query may be."""

MAX_QUERY_COSTLY_BYTES = 64 << 10
"""How long one value may be where a query calls what takes time by the product of the lengths of its values, or memory
by all of them: `instr`, `replace`, `trim`, `concat`, `json_array`, `json_object` and what changes JSON."""

MAX_QUERY_ARGUMENTS = 50
"""How many values one call of a function within a query may be given."""
