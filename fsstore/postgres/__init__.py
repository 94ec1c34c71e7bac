"""The engine on PostgreSQL: format 1, and the protocols by which programs on many machines share one store.

The format
----------
Four tables, whose names begin with a prefix (`schema.tables` has the DDL, `schema.rows` the columns)::

    fsstore_documents       one row a record: `record` is the text that a file would hold, and decides; other columns
                            repeat parts of it, to find rows by; the key is a hash of the id (16 bytes)
    fsstore_changes         one row for each record that a commit has changed: the outbox of watches, and the proof that
                            a commit was applied; kept for an hour
    fsstore_store           one row: the format, the floor (the highest version that was deleted), how far `changes` was
                            removed, and until when changes hold whole records
    fsstore_damaged         texts that somebody had damaged by hand, set aside by what has taken their place
    fsstore_relation        the view that callers may question, and the function `fsstore_json_extract` beside it

No foreign keys, no triggers, nothing but the one row of `store` that every commit reads. A record that PostgreSQL would
see otherwise than Python does (text with NUL, numbers that `numeric` does not hold, texts too long for an index) is
marked ODD: its row is found by id, times and version, and judged by its text.

What we rely on
---------------
A transaction is applied wholly or not at all; what it has committed survives a crash of the server, unless it said
`durable=False`. A unique key is inserted once; whoever inserts it meanwhile waits for the transaction that has. A row
that is locked changes by whoever has locked it. `pg_current_snapshot()` tells which transactions had ended.

A save, step by step
--------------------
1. What the caller gives is written down at once as the text that it will be (`sealed`, as on files); a task of its own
   commits it, so that a caller who is cancelled does not interrupt it.
2. One record alone is drafted of what this process has seen of it last, or of nothing where it is probably new, or else
   of what one read without a lock gives; and sent as one statement (`at_once`). That does nothing unless the record is
   still that very text, by its SHA-256, and the store has its format still and, for a new record, its floor. Nothing
   was done, or the mutation deletes: go on with 3.
3. One exchange: BEGIN, the time limits, the rows locked in the order of their keys, the row of `store`.
4. The draft (`draft`): the rules of every backend, applied to what was found. A refused commit ends here, rolled back.
5. One more exchange: the rows in the order of their keys, the rows of `changes`, a look whether the floor has risen,
   and COMMIT: THE COMMIT POINT. An id that a batch found absent, and that it says something about, is inserted and
   deleted in its turn, so that it stays absent until the end.

Every commit takes its locks in the order of the keys, so that two of fsstore's never deadlock. Serialization failures,
deadlocks with other programs, and a record or floor that was faster are tried again, after a time drawn by lot, until
`timeout_seconds` are over.

A row whose text is no record any more gives way to what would do the same over anything, as on files: an unconditional
save sets the text aside, an unconditional delete only where that is asked for, and what comes next begins above the
version of the row. Every other change of it is refused with StorageCorruptedError; lists leave it out, and the report
names it once one has met it. Until then `count` and `list_metadata` of that process know its row where the columns tell
all that is asked; queries do so always.

A lost answer
-------------
Each commit has a number (a UUID), in its rows of `changes`. Where the connection is lost before the last exchange was
sent, nothing is applied, and the commit is done again by another connection. Where it is lost in the last exchange, the
same number is inserted as a void row, with the key of the first record. That waits for the transaction, as long as the
server is still at it. Then either the number is there, and the commit is applied; or the void row stands, and whatever
of the commit still arrives fails by it. Where no server answers for `timeout_seconds`, or half an hour has passed, as
on a machine that sleeps, the error says `unknown`.

Watching
--------
One thread a process follows `changes` (`watch.watcher`). Its position is a snapshot: what a newer snapshot shows and
that one did not is new, however early its transaction began, so nothing that commits late is skipped. Of one record
the rows have the order of `seq`, drawn under the lock of its row. Notifications are hints; without them it looks every
half second. Where it cannot know what it has missed (the server was started anew, rows were removed that it had not
read), it compares ids and versions of all records with what it has published. One commit in 500 of a process removes
changes that are older than an hour, at most 1 000 at a time.

Queries
-------
A query of a caller is taken apart and written anew (`queries.guard`), and runs as a role that may SELECT on the view
and nothing else, in a transaction that is read only and always rolled back, with limits of time and of bytes. Without
that role it is refused; it never runs with other rights.

What is left behind
-------------------
- A process that dies in mid-commit: an open transaction, which the server rolls back when it notices the closed
  connection, or after `timeout_seconds`, so that its locks do not last. A COMMIT that was sent is applied.
- A server that dies: what was committed. Every process makes new connections. Where the server has lost
  what it had not synced, versions are counted again; what a process remembers of records does no harm then, since it is
  compared with their texts. Commits under way learn what became of them, as above.
- A lost connection: the same, for the call that used it; reads are done again once.
- A void row: an hour, in `changes`; watches pass it over.
- A child of fork: connections of its own. Those of the parent are left alone until it ends.
- Making and upgrading: all in one transaction, under an advisory lock; there are all tables, or none.
"""
