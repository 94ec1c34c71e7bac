"""Filters, orders and lists as SQL that agrees with `matches`. Stands on `schema`; knows nothing of commits."""
