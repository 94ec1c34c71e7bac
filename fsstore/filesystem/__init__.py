"""The file-system engine: format 1, and the protocols that keep its promises.

The format
----------
::

    STORE/
      fsstore.json            marker: {"format": 1, "shard_depth": 1}
      3f/<name>.json          one document; 3f is the first byte of the hash (BLAKE2b) of its id
      .fsstore/               what belongs to this machine; disposable while no process has the store open (removing it
                              during a commit can lose that commit)
        .gitignore            `*`
        lock                  the writer lock (`lock`); empty, never deleted
        seq                   nine counters (`counters`); never deleted
        log/000000000001.log  the redo log (`log`); empty when the store is idle
        txn/                  files on their way to their places: one file, or a directory a batch
        index.sqlite3         the metadata index (`index`), a cache of what the documents say
        quarantine/           what recovery and repair set aside; never deleted by us

A document is a JSON object with sorted keys, two spaces of indent, unescaped UTF-8 and a newline at its end: equal
records give equal bytes. An id of `[a-z0-9._-]`, at most 100 characters and reserved on no system, is its own file
name; any other becomes `<slug>~<hash>.json`. The id inside is checked on every read. With shard depth 2 there is a
second level of directories, named by the second byte of the hash. Foreign files in the root are never touched.

What we rely on
---------------
A rename within a file system is atomic for other processes. After fsync returns, bytes are on the medium; after fsync
of a directory, its names are. A lock ends with its process. Unsynced data may be lost, torn or written out of order by
a power cut, and unsynced renames and unlinks may be lost or undone, each on its own. A write to a file sets its times;
so what a program stores through a memory mapping, after the first store, is not noticed.

A save, step by step
--------------------
What the caller gives is written down at once as the bytes that it will be (`sealed`), so that it need not be copied;
then the commit is queued. The writer thread takes the store lock, and keeps it while more comes soon (`lock`): for
20 ms if another process requests it, and a second at most. What is queued is one group, and for each:

1. draft: reads what is there, unless what this process keeps of it is sure to be the same (`cache`, `trust`), and
   applies each mutation (`draft`); of bytes that are there already only the lines that change are made anew. A refused
   commit ends here. (nothing on disk)
2. `indexing` becomes odd; new documents are written below `txn/`, unsynced. (temp files, which recovery removes)
3. one record with all payloads goes to the log, and one fdatasync makes it true: THE COMMIT POINT. (a torn record at
   the end of the log, maybe before zeros that were written ahead, is a commit that never happened; a whole one is
   replayed)
4. for a batch `applying` becomes odd, and readers wait; the files are renamed into place, deletions unlinked; it
   becomes even, and the callers are answered. (recovery finishes what is missing)
5. for 64 documents at once, or when nothing else is to be done: what was replaced is unlinked, and the rows of the
   index are made ready. (temp files, and an index that lags)
6. when somebody asks the index, when 512 rows wait, and at the latest before the lock is released, the index gets
   them, and `indexing` becomes even (`index_updates`). A list waits for the end of it, and asks the writer for it, in
   whatever process this is. (a row that is missing or old is found by its signature)

A new version of a document changes names with the old one, which is then unlinked, where the system can do that
(`syscalls`): a plain rename over a file makes ext4 write the new one out at once. So with `fsync=False` a power cut may
leave an empty or torn document where other programs would have got the old one: it is reported, as all damage is.

With `fsync=False` a single document needs no record: its rename is the commit point. A batch writes its record
unsynced, which makes it whole after a SIGKILL, and deletes it once all of it is in place. While the log holds any
record, everything is logged, so that a replay never undoes a later write.

One record stands for a group, not one for each commit: the group shares one fdatasync, so a tear can then only be at
the very end of the log, and is never confused with damage in its middle.

The checkpoint
--------------
After 16 MB of log, after a second without writes, and on close: under the lock the newest segment is sealed; outside of
it the documents and directories it names are synced; then sealed segments are deleted, the oldest first, each deletion
synced before the next. Each document is synced by itself, not all of them by one syncfs(2), which does not hear of
every loss: ext4 tells of a delayed allocation that failed only the call that has written the page back. A document that
cannot be synced is written anew from the log: a second fsync that succeeds proves nothing about bytes that a first one
has lost.

Recovery
--------
Needs no operator. An odd counter under a free lock means that a writer died; a boot id in the log that is not the
system's means that the system went down. Whoever notices takes the lock and replays the log: the last record of each
document decides, unless the document was edited by hand since. See `recovery` for the cases. Then the log and `txn/`
are emptied, and the index is marked stale. Temp files beside an empty log mean the same: a power cut has brought them
back.

Verifying and repairing
-----------------------
`verify` reads everything and changes nothing; what looks wrong is judged again under the lock before it is reported.
`repair` is for what no crash explains, such as bad blocks and edits gone wrong: under the lock it renames what cannot
be read as the document of its name into quarantine, and a whole document in the wrong place to its right one if that is
free, where a copy of a document that was deleted since comes back. Then the index begins anew. See `verify`, `repair`.

Reading
-------
A get opens one file. If `applying` is odd it waits first, so a batch appears at once to whoever asks through fsstore.
The event loop does it where the system has the bytes in memory, else a reader thread. To open a file whose name the
system has forgotten, as after a start of the machine, waits for the disk in the event loop: a few reads of directories
and inodes, once for each document. An open that never waits (openat2(2) with RESOLVE_CACHED) made no difference that
could be measured, and containers filter that call.
The bytes are framed by two looks at the file, and examined (the envelope, times, long numbers). Bytes that were read or
placed lately are kept, and one stat stands for reading them as long as they are sure (`cache`); otherwise they are read
again, and if they are the same, only parsed. A list takes rows from the index and
contents from the files, and is made again if a batch came in between. The index never decides what exists: no returned
record contradicts its document, and `refresh` finds what other programs have changed: it holds the files of each shard
against the rows, names and signatures of all of them as one text, and looks name by name only where these differ.

What is remembered of files
---------------------------
Bytes, the mark that they were examined, rows of the index and the marks of those who watch stand for a file only as
long as it has the signature that it had (inode, size, mtime, ctime, and in memory the device), and only if that
signature is sure. `trust` is the one home of this rule and of its reasons. What was read is sure if the last change of
the file was two seconds old when the reading began. What was placed is sure at once on a multigrain clock (ext4, xfs,
btrfs and tmpfs from Linux 6.13 on, where that is seen to work), elsewhere when it is read again two seconds later. So
on a coarse clock the writer reads what it has placed a moment ago, a row of the index is compared by hash once, by the
first list of a later opening, and a watch reads each document once more, two seconds after its change.

Watching
--------
One thread per open store (`watcher`) holds what was last reported of each document: its version, a digest of its bytes,
a hash of its signature. It begins with the rows of the index, compares everything once, and then takes in three things.
Own commits, which the writer thread notes before it answers: each is reported as it was made. Events of the system
(`events`), which are hints. And what differs when it looks for itself (`scanner`): at the directories often, at all
files seldom. Hints and looks only name documents; `classifier` looks at each, in no half of a batch, waits until the
notes of every own commit that may show in it have come, looks again before it believes that a document is gone or
damaged, and has the index brought up to date before it reports: a list after a report finds what was reported.

A row of the index says by the last bit of `recorded_ns` whether a commit made it (even) or whoever read the file (odd):
a commit's row with the file's signature proves that fsstore has written it. A commit's rows come before `indexing` is
even, so the absence of such a row after that proves the opposite. Not told apart, and external, is what recovery has
finished, and what happens while the index file cannot be used. A deletion by hand that another process has noticed
50 ms earlier reads as one by fsstore.

While the index file cannot be used (disk full, no permission) an index in memory answers: O(documents) memory, and
one stat a document after each commit, until the file can be written again. An answer counts only if the index is still
the same afterwards. Anything foreign in the place of the index, or in its tables, makes it anew; values that another
program has changed in its rows are believed by counts and queries until `verify --hash` finds them or the index is
deleted.
"""
