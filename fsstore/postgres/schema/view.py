"""The view behind the relation `documents`, and the function that queries have for SQLite's `json_extract`. Pure.

What the columns do not tell of an odd row is read from its record. PostgreSQL holds no text with NUL: U+FFFD stands for
each there. The metadata is of the type `json`, which keeps every number as it is written.
"""

from __future__ import annotations

from fsstore.model.times import TIME_KEYS
from fsstore.postgres.schema.rows import ODD, time_text
from fsstore.query.columns import ENVELOPE

_ENVELOPE = {
    **{name: f"d.{name}" for name in ("id", "version")},
    **{name: time_text(f"d.{name}") for name in TIME_KEYS},
    **{name: f"coalesce(d.{name}, odd.record ->> '{name}')" for name in ("type", "session_id", "thread_id")},
}

RELATION = rf"""
CREATE VIEW {{relation}} AS SELECT {", ".join(f"{_ENVELOPE[name]} AS {name}" for name in ENVELOPE)},
    CASE WHEN odd.record IS NULL THEN nullif(coalesce(nullif(d.metadata, 'null'), d.top_metadata), 'null')::json
        ELSE coalesce(
            nullif(CASE json_typeof(odd.record -> 'data') WHEN 'object'
                THEN (odd.record -> 'data' -> 'metadata')::text END, 'null'),
            nullif((odd.record -> 'metadata')::text, 'null')
        )::json END AS metadata
    FROM {{documents}} AS d LEFT JOIN LATERAL (
        SELECT regexp_replace(d.record, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g')::json AS record
        WHERE d.marks >= {ODD}
    ) AS odd ON true;
CREATE FUNCTION {{json_extract}}(document json, path text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT pg_catalog.jsonb_path_query_first(document::jsonb, path::jsonpath) #>> '{{{{}}}}' $$;
"""
"""What the tables of a store have beside them, with the names of a store in their places."""
