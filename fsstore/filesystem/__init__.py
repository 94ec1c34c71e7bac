"""The file-system engine: format 1, and the protocols that keep its promises.

The format
----------
::

    STORE/
      fsstore.json            marker: {"format": 1, "shard_depth": 1}; "max_bytes" in it bounds what is written
      3f/<name>.json          one document; 3f is the first byte of the hash (BLAKE2b) of its id
      .fsstore/               what belongs to this machine; disposable while no process has the store open, the log is
                              empty, nothing waits and nothing is in quarantine, as `health` tells (it may be the only
                              copy); removing
                              it under an open store loses no write to another one, but a power cut may then take the
                              last second
        .gitignore            `*`; first file here, and its line is ended when all directories are synced
        lock                  the writer lock (`lock`); empty, never deleted
        batches               which documents the latest batches have touched (`batches`)
        seq                   fifteen counters (`counters`); never deleted
        open                  locked by everybody who has the store open for writing (`presence`); never deleted
        checkpoint            locked by whoever syncs documents and deletes segments (`checkpoint`); never deleted
        floor                 the highest version that was deleted, in decimal; written by checkpoints
        log/000000000001.log  the redo log (`log`); empty when the store is idle
        txn                   format number of this directory: a file, since fsstore 0.1.0 expects a directory
        staging/              files on their way to their places: one file, or a directory a batch; an index being made
        index.sqlite3         the metadata index (`index`), a cache of what the documents say
        waiting/              what could not be put in its place yet, a file for each document (`waiting`)
        quarantine/           what recovery and repair set aside; never deleted by us

A document is a JSON object with sorted keys, two spaces of indent, unescaped UTF-8 and a newline at its end: equal
records give equal bytes. An id of `[a-z0-9._-]`, at most 100 characters and reserved on no system, is its own file
name; any other becomes `<slug>~<hash>.json`. The id inside is checked on every read. With shard depth 2 there is a
second level of directories, named by the second byte of the hash. Foreign files in the root are never touched.
What root makes belongs to the owner of the store's directory, who could not use it otherwise.

What we rely on
---------------
A rename within a file system is atomic for other processes. After fsync returns, bytes are on the medium; after fsync
of a directory, its names are. A lock ends with its process. Unsynced data may be lost, torn or written out of order by
a power cut, and unsynced renames and unlinks may be lost or undone, each on its own. A write to a file sets its times;
so what a program stores through a memory mapping, after the first store, is not noticed.

A save, step by step
--------------------
What the caller gives is written down at once as the bytes that it will be (`sealed`), so that it need not be copied;
then the commit is queued. The writer thread takes the store lock, which is one on the file `lock` and, where the system
can do that, one on the store's directory, so that whoever removes `.fsstore` makes no second writer. It keeps the lock
while more comes soon (`lock`): for 20 ms if another process requests it, and a second at most. What is queued is one
group, and for each:

1. draft: reads what is there, unless this process has placed or read it lately (`cache`), and applies each mutation
   (`draft`); of bytes that are there already only the lines that change are made anew. A refused commit ends here.
   (nothing on disk)
2. shards that are missing are made; `indexing` becomes odd; new documents are written below `staging/`, unsynced.
   (empty shards, which stay; temp files, which recovery removes)
3. one record with all payloads, or splices that make them, goes to the log, and one fdatasync makes it true: THE COMMIT
   POINT. (a torn record at the end of the log, maybe before zeros that were written ahead, is a commit that never
   happened; a whole one is replayed)
4. for a batch its names go to `batches`, `applying` becomes odd, and readers wait; the files are renamed into place,
   deletions unlinked; it becomes even, how far the log is placed is noted, and the callers are answered. (recovery
   finishes what is missing)
5. for 16 documents at once, or when nothing else is to be done: what was replaced is unlinked, and the rows of the
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

Versions do not repeat: a document that is made begins one above the `floor`, the highest version that fsstore has
deleted in this store. The floor is raised in the counters before the deletion is placed, and it is in the deletion's
record; before that record goes, it is brought to the disk in a file of its own. Recovery takes the highest of the
three. A document that cannot be read counts as deleted: when it gives way, when the index leaves it out, and when it is
repaired, the floor is raised to the version that its bytes tell (a truncated one tells none, since the version is its
last line) and to the one that the index knew of it. What is not seen: deletions by hand and by git, what was deleted
before `.fsstore` was removed while no process had the store open, and the version of a document that was truncated, or
emptied, while the index did not know it: never listed and written by another program, or after the index was lost. A
version above 2^53 was written by hand and raises no floor.

A record holds the documents whole, or as splices: what came, where, and the hashes before and after. A splice is only
written upon what the same segment holds, by a record of this process, so that a replay always has a base; the first
change of a document in a segment is logged whole, later appends and changes of its metadata by what is new in them
(`text`, `records`). So a message that is appended costs the log a message, and not a history. Recovery, checkpoints
and those who only read put splices upon their bases first, and then see whole documents, as ever. A splice without
its base, or from which something else comes than its hash says, is damage of its segment.

One record stands for a group, not one for each commit: the group shares one fdatasync, so a tear can then only be at
the very end of the log, and is never confused with damage in its middle.

The checkpoint
--------------
After 16 MB of log, after a second without writes, and on close: under the lock the newest segment is sealed; outside of
it, by one process at a time (`checkpoint`), the documents and directories it names are synced; then sealed segments are
deleted, the oldest first, each deletion synced before the next. Each document is synced by itself, not all of them by
one syncfs(2), which does not hear of every loss: ext4 tells of a delayed allocation that failed only the call that has
written the page back. A second fsync that succeeds proves nothing about bytes that a first one has lost. So a sync that
fails is noted in the counters (`unsynced`) before another process may begin a checkpoint; from then on none deletes
anything, until whoever takes the lock next has written those documents anew from the log, and synced them. A directory
that names shards cannot be written anew under those who read: a name is made in it and taken away again, so that its
block is written once more. That is the block with room for a name, which of a root on blocks of 4 KiB is the only one;
in a larger directory of a file system without a journal, the name of a shard may stay lost after such a failure (with
a journal, the file system refuses all writing from then on, and the log stays).

Recovery
--------
Needs no operator, and compares bytes. Whoever takes the lock and finds an odd counter knows that a writer died, and
finishes what was not placed yet (`placed` in the counters): of each document the last record decides, unless the
document was edited by hand. What was placed is left alone, and an edit of it stays, also one back to an older value, as
by `git checkout`, or a deletion.

That holds while anybody has the store open, since the medium cannot have been away meanwhile. Everybody who has it open
for writing holds a shared lock (`presence`); whoever opens it and gets that lock alone replays the log, always, and
takes nothing for placed: no boot id, no counter, no clean unmount proves that a medium has kept what was not synced (a
USB disk that was pulled, a journal that was aborted, a snapshot). Nobody else comes in until readers are held up by
`applying`. Replaying what is in place already writes nothing and leaves the index as it is. Temp files beside an empty
log mean the same: a power cut has brought them back. Where the system has no shared locks, everybody who opens the
store replays its log. See `recovery` for the cases.

A document that cannot be put in its place behind the commit point (immutable, no permission, a mount on it), or can
never be synced there, is settled by itself: its value goes to a file in `waiting/`, on disk, its batch is completed for
all others, and the log goes on (`waiting`). The commit raises StorageUnavailableError with outcome "applied"; reads of
that document raise it too, in every process, and lists, counts and queries leave it out: what lies in its place is
never served as if it were current. Changes of it are refused. `health_check` names it. Whoever reads it or changes it
tries again, at most a second passes until a list does, and opening the store does it as well. A deletion waits like a
value. The file is a segment of the log with one record: what the document is to become, and hashes of what it was,
against which recovery compares what lies there by then. It is synced, named and its directory synced before the segment
goes that it stands for; it goes when the document is in its place and synced, before anything else is committed to that
document. A crash in between leaves a file beside a document that is found equal, and the file goes then. The
counter `waiting` tells the others: it grows whenever a file comes or goes, and is odd while there is one.

What would make placing fail and can be known beforehand is refused before the commit point, with nothing written. Each
save asks the system twice, which takes about 3 us (of 120 us and more that a durable one takes): whether the directory
can be written (permission, a read-only mount, an immutable directory, by faccessat(2); and once for each directory of
an open store, whether it lies on another file system), and whether the file that is there is immutable (faccessat(2),
too: the kernel lets nobody write to it). What already lies there and is no file or cannot be read was found when the
change was drafted, and a full disk or an exceeded quota by making the shard and writing the temp file. Not known
before: a file that may only be appended to (`chattr +a`), a mount on the file itself, a directory with the sticky bit
and a foreign file in it, a shard that must grow for one more name and finds the disk full, and what changes in between.
In that last but one case recovery fails until there is room, and with it all reads and writes; then it ends by itself.

Verifying and repairing
-----------------------
`verify` reads everything and changes nothing; what looks wrong is judged again under the lock before it is reported.
What cannot be read keeps nobody from anything else. Damaged documents are a table of the index, named by `health`; what
the system refuses to read, and what is too large to be read, is known to this open store alone (`unreadable`): another
user may be able to read it, or the same one in a moment. An unconditional save replaces what is damaged or too large,
and brings it to quarantine before its commit point; where that cannot be done, the save is refused and nothing has
changed. An unconditional delete removes it, and keeps it there only where that is asked for. Every other change of it
raises. So does any change, a save and a delete too, of what the system refuses to read, since nobody knows what would
be replaced and it could not be set aside; and of a document in which git has left a conflict: it is no damage but work
of two people, both sides of which stand in the file, where `git` waits for somebody to choose.

`repair` is for what no crash explains, such as bad blocks and edits gone wrong: under the lock it renames what cannot
be read as the document of its name into quarantine, and a whole document in the wrong place to its right one if that is
free, where a copy of a document that was deleted since comes back. Of several copies of one document (those of a sync
program, say) the newest goes there, by version, then `updated_at`, then the file's time; the others go to quarantine,
and so do all copies of a document that is whole in its place. Then the index begins anew. See `verify`, `repair`.

Before a commit is answered, its segment of the log and the counters must still have their names. Where somebody has
removed them, the control directory is made anew, the record is written once more, and recovery finishes the commit.

Somebody may also put older ones in their place, under running processes: rename a copy of `.fsstore` to it, which is
the same as removing it, or write an old `seq` over the one that is there. So whoever takes the lock looks which
segments there are. Counters that do not know the newest one say nothing: all of the log is replayed, in the order of
its segments, before anything is appended. What such counters have forgotten besides is the floor, where the file
`floor` is older too and no open store has seen a higher one, and a sync that has failed since.

Reading
-------
Each look at the counters also looks whether they have their name: where not, whoever reads takes the lock first, which
makes them anew. Counters that are made begin odd, so nobody reads past a batch that is counted in those before.
A get opens one file. If `applying` is odd it waits first, so a batch appears at once to whoever asks through fsstore.
The event loop does it where the system has the bytes in memory, else a reader thread. To open a file whose name the
system has forgotten, as after a start of the machine, waits for the disk in the event loop: a few reads of directories
and inodes, once for each document. An open that never waits (openat2(2) with RESOLVE_CACHED) made no difference that
could be measured, and containers filter that call.
The bytes are framed by two looks at the file, and examined (the envelope, times, long numbers); as long as the file
keeps its inode, size and times it need not be examined again, only parsed. Where the clock shows each change of a file,
which is tried once, or the last one was long ago, bytes that were read or placed lately are kept, and one stat stands
for reading them (`cache`). A list takes rows from the index and
contents from the files. If batches came in between, it reads what they have touched (`batches`) once more, until it is
done before the next one comes; nobody waits for it meanwhile. Where they come faster than that, the writers are asked
to pause while the last of it is read (`isolation`). It begins anew only after a recovery, and where `batches` does not
say enough. The index never decides what exists: no returned
record contradicts its document, and `refresh` finds what other programs have changed: it holds the files of each outer
shard against the rows, names and signatures of all of them as lines of one text, and looks at the names whose lines
differ. The index of a store that has none is made aside, without the lock, and put in place whole; then it is compared
(`building`).

To write the index needs the store lock, and whoever holds that may be stopped. So whoever asks the index waits a second
for the lock, or for what is committed to reach the index, and then copies the index into memory, compares all documents
with the copy, and asks that (`private_index`); it is compared again after each commit, and given up when the file
answers again. What still waits for the lock: the end of a batch that is being put in place, `verify`, and `repair`.

A get waits for that end also where its document is not in the batch, as long as the holder lives: `applying` is odd for
a batch and for a recovery alike, and a recovery puts back whatever the log holds, which may be several batches, none of
which it notes in `batches`. So nobody but the holder knows which documents are on two sides at that moment, and the log
does not tell either: which of its records are in place already shows only in the counters, once they are even. `verify`
judges under the lock whatever looks wrong, since beside a commit any difference may be that commit's own.

A directory that is gone is no empty store. On a miss, before an answer of the index counts, and before each group of
commits the store is looked for at its path (`marker.StoreRoot`): the directory, and the marker in it. If it is
removed, unmounted or emptied, or declares another shard depth now, everything but a get of a document that is there
raises StorageUnavailableError, and `health_check` is degraded; when it is back, everything goes on. Device and inode of
the directory identify it: what is put in its place is another store, with an index, a log and a lock of its own, and
nothing that is known of the first is believed of it. So is a medium that has died and was mounted again, although its
inodes are the same: it is another device as long as a descriptor is open on the dead one, and an open store keeps one.
All of its log is replayed, and the store goes on.

It may also be away for one call of the system, and be back at the next. So where it matters nothing is taken for absent
because a path does not lead to it: a document that a commit has not found, or was to delete, is looked for in a
descriptor of the store's directory (`are_absent`), a segment or a document that waits in one of the control directory
(`sure_entries`). What is put into the place of the store for a moment, and taken out again, is not noticed.

Who may only read
-----------------
On a read-only medium, or without the permission to write, nobody can recover, and nobody needs to (`overlay`). Each
read looks at the log first, which is empty most of the time. If it is not, the opener tries the writer lock, shared,
through a descriptor that cannot write:

- a writer has it: it vouches for what lies in place, and while `applying` is odd it is waited for;
- it is free, all counters are even, and somebody has the store open for writing: what was committed is in place;
- else nobody vouches for anything. The log is read under the shared lock, so that no record is seen which may still be
  taken back, and each document in it is shown as a recovery would leave it: the log's last value in place of an older
  one, of bytes that are none, of nothing, and of what was there before that value was logged. Documents, lists and
  `verify` see these in place of the files; the index, which is in memory here, is made of them.

A list is made again if a batch was put in place meanwhile, or the log has changed; after a few times with the shared
lock, for which writers wait. If `.fsstore` is closed to this user, every read raises StorageUnavailableError.

What cannot be detected
-----------------------
A store to a shared memory mapping of a document changes the file's times when it makes the page writable, and no
later store does until the system has written the page back: bytes and index rows that were taken in between are
believed until then; `verify --hash` finds them. Deletions by hand and by git leave no version behind: a document that
is made again in that place may get a version that was used before, and `expected_version` cannot tell. Edits and
transactions compare whole records. An older copy of `.fsstore` that was put in the place of the newer one: if its log
was not empty when it was copied, documents that were deleted since come back from it (newer versions of documents stay,
and the log's values go to quarantine). So restore documents without it. A clock that was set back between a commit and
an edit by hand: the edit has the earlier time and the same version, and if the log is replayed before the next
checkpoint, it goes to quarantine as if a power cut had brought it back.

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

Forking
-------
A child of fork opens a store again at its first use, with its own threads, locks and connections; what was under way at
the fork stays the parent's. At the fork nobody uses SQLite, whose connections to files are closed before: so a child
inherits neither its locks nor a call that never ends. Who uses it is waited for 50 ms; if that is not enough, whatever
needs a store raises StorageClosedError in that child. See `fsstore.forking`.
"""
