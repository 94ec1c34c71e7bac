/* Stands between a process and the C library, for LD_PRELOAD: sees every call that changes something below one
 * directory, by whatever thread and whatever library, and counts, records, fails or kills at it.
 *
 * One mutex makes the calls of all threads one sequence: what is recorded is the order in which they happened, and a
 * process that is killed at a call makes no other one after it. The functions named `interpose_*` are for ctypes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, KILL_BEFORE, KILL_AFTER, FAIL, SHORT, FAIL_THEN_KILL };

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static volatile int active;
static char below[PATH_MAX];
static size_t below_size;
static int counts_reads;
static char chosen[256];
static long calls, at, action, error_number, times, fired, failing_microseconds;
static const char *called[1 << 16];
static int trace = -1;

/* -- for ctypes ---------------------------------------------------------------------------------------------------- */

/* Begin to watch a directory; `reads` also counts opening for reading. */
void interpose_watch(const char *directory, int reads)
{
    snprintf(below, sizeof below, "%s/", directory);
    below_size = strlen(below);
    counts_reads = reads;
    calls = fired = at = failing_microseconds = 0;
    chosen[0] = 0;
    active = 1;
}

/* Do something at the call of that number, counted from 1, and at the next ones, as many times as that in all. */
void interpose_at(long number, int what, int error, long how_often)
{
    at = number;
    action = what;
    error_number = error;
    times = how_often;
}

/* Let a failing call take that long: meanwhile others go on. */
void interpose_slow(long microseconds) { failing_microseconds = microseconds; }

/* Count, and act at, only calls of these functions: their names, each with a space before and behind it; "" is all. */
void interpose_only(const char *names) { snprintf(chosen, sizeof chosen, "%s", names); }

/* Record what happens in an open file of the caller's. */
void interpose_record(int descriptor) { trace = descriptor; }

/* Let calls pass; returns whether they were counted until now. */
int interpose_stop(void)
{
    int was_active = active;
    active = 0;
    return was_active;
}

/* Go on as it was before a stop; the count goes on too. */
void interpose_resume(int was_active) { active = was_active; }

/* Return the function of a call by its number; "" when there was none. */
const char *interpose_called(long number)
{
    return number < 1 || number > calls || number >= 1 << 16 ? "" : called[number];
}

long interpose_calls(void) { return calls; }

long interpose_fired(void) { return fired; }

/* -- the record ---------------------------------------------------------------------------------------------------- */

/* A call is written as its name, two paths, inode, offset and data; what has no fixed size has its length before it. */
static void put(const void *data, size_t size)
{
    const char *rest = data;
    while (size > 0) {
        long done = syscall(SYS_write, trace, rest, size);
        if (done <= 0)
            abort();
        rest += done;
        size -= (size_t)done;
    }
}

static void put_field(const void *data, size_t size)
{
    uint32_t length = (uint32_t)size;
    put(&length, sizeof length);
    put(data, size);
}

static void note(const char *name, const char *first, const char *second, uint64_t inode, int64_t offset,
                 const void *data, size_t size)
{
    int64_t numbers[2] = {(int64_t)inode, offset};
    if (trace < 0)
        return;
    put_field(name, strlen(name));
    put_field(first, strlen(first));
    put_field(second, strlen(second));
    put(numbers, sizeof numbers);
    put_field(data, size);
}

/* Put a word of the caller's own into the record, such as that a write was acknowledged. */
void interpose_mark(const char *text)
{
    pthread_mutex_lock(&one_at_a_time);
    note("mark", text, "", 0, 0, "", 0);
    pthread_mutex_unlock(&one_at_a_time);
}

/* -- what a call is about ------------------------------------------------------------------------------------------ */

static void path_of(int descriptor, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = syscall(SYS_readlink, link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
}

static void full_path(int directory, const char *name, char *path)
{
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    if (directory == AT_FDCWD) {
        if (syscall(SYS_getcwd, path, PATH_MAX) < 0)
            path[0] = 0;
    } else
        path_of(directory, path);
    size_t size = strlen(path);
    snprintf(path + size, PATH_MAX - size, "/%s", name);
}

static int is_watched(const char *path)
{
    return strncmp(path, below, below_size) == 0 || strncmp(path, below, below_size - 1) == 0;
}

static uint64_t inode_of(int descriptor)
{
    struct stat found;
    return fstat(descriptor, &found) == 0 ? found.st_ino : 0;
}

/* -- the turn of a call -------------------------------------------------------------------------------------------- */

/* The C library's name of a function. */
static const char *public(const char *name) { return strncmp(name, "watched_", 8) == 0 ? name + 8 : name; }

static int is_chosen(const char *name)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, " %s ", name);
    return !chosen[0] || strstr(chosen, wanted);
}

/* Count a call, and do what is due before it. Returns -1 when it must fail, 1 when it must be short. */
static int turn(const char *name, const char *path)
{
    if (!is_chosen(name))
        return 0;
    calls++;
    if (calls < 1 << 16)
        called[calls] = name;
    if (action == NOTHING || at == 0 || calls < at || calls >= at + times)
        return 0;
    fired++;
    if (action == KILL_BEFORE || (action == FAIL_THEN_KILL && calls > at)) {
        note("killed", path, name, 0, 0, "", 0);
        syscall(SYS_kill, getpid(), SIGKILL);
    }
    if (action == FAIL || action == FAIL_THEN_KILL) {
        note("failed", path, name, 0, error_number, "", 0);
        return -1;
    }
    return action == SHORT;
}

static void after(const char *name, const char *path)
{
    if (action == KILL_AFTER && calls == at && is_chosen(name)) {
        note("killed", path, name, 0, 0, "", 0);
        syscall(SYS_kill, getpid(), SIGKILL);
    }
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* Take the turn around one call, which is told by `turned` when it must be short. `done` is evaluated after it, with its
 * result in `result` and its errno kept. */
#define IN_TURN(type, call, done) \
    do { \
        type result = -1; \
        int kept = (int)error_number; \
        int turned = turn(public(__func__), path); \
        if (turned >= 0) { \
            result = (call); \
            kept = errno; \
            if (result >= 0) { \
                done; \
            } \
            after(public(__func__), path); \
        } \
        pthread_mutex_unlock(&one_at_a_time); \
        if (turned < 0 && failing_microseconds > 0) \
            usleep((useconds_t)failing_microseconds); \
        errno = kept; \
        return result; \
    } while (0)

#define WATCHED_DESCRIPTOR(descriptor, otherwise) \
    if (!active) \
        return otherwise; \
    char path[PATH_MAX]; \
    path_of(descriptor, path); \
    if (!is_watched(path)) \
        return otherwise; \
    pthread_mutex_lock(&one_at_a_time)

/* What has two names is watched for either. */
#define WATCHED_PATHS(directory, name, other_path, otherwise) \
    if (!active) \
        return otherwise; \
    char path[PATH_MAX]; \
    full_path(directory, name, path); \
    if (!is_watched(path) && !is_watched(other_path)) \
        return otherwise; \
    pthread_mutex_lock(&one_at_a_time)

#define WATCHED_PATH(directory, name, otherwise) WATCHED_PATHS(directory, name, path, otherwise)

/* -- names --------------------------------------------------------------------------------------------------------- */

static int watched_open(int directory, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    int changes = flags & (O_CREAT | O_TRUNC);
    if (!active || (!changes && (!counts_reads || flags & O_PATH)))
        return (int)syscall(SYS_openat, directory, name, flags, mode);
    full_path(directory, name, path);
    if (!is_watched(path))
        return (int)syscall(SYS_openat, directory, name, flags, mode);
    pthread_mutex_lock(&one_at_a_time);
    int was_there = faccessat(directory, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    const char *what = !changes ? "open" : !was_there ? "create" : flags & O_TRUNC ? "truncate" : "open";
    IN_TURN(int, (int)syscall(SYS_openat, directory, name, flags, mode),
            note(what, path, "", inode_of(result), 0, "", 0));
}

#define OPENING(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return watched_open(AT_FDCWD, path, flags, mode); \
    }
#define OPENING_AT(name) \
    int name(int directory, const char *path, int flags, ...) \
    { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return watched_open(directory, path, flags, mode); \
    }
OPENING(open)
OPENING(open64)
OPENING_AT(openat)
OPENING_AT(openat64)

int unlinkat(int directory, const char *name, int flags)
{
    REAL(unlinkat);
    WATCHED_PATH(directory, name, real(directory, name, flags));
    IN_TURN(int, real(directory, name, flags), note(flags & AT_REMOVEDIR ? "rmdir" : "unlink", path, "", 0, 0, "", 0));
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }

int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int directory, const char *name, mode_t mode)
{
    REAL(mkdirat);
    WATCHED_PATH(directory, name, real(directory, name, mode));
    IN_TURN(int, real(directory, name, mode), note("mkdir", path, "", 0, 0, "", 0));
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int renameat2(int old_directory, const char *old, int new_directory, const char *new, unsigned flags)
{
    char other[PATH_MAX];
    long plain(void) { return syscall(SYS_renameat2, old_directory, old, new_directory, new, flags); }
    full_path(new_directory, new, other);
    WATCHED_PATHS(old_directory, old, other, (int)plain());
    IN_TURN(int, (int)plain(), note(flags ? "exchange" : "rename", path, other, 0, 0, "", 0));
}

int renameat(int old_directory, const char *old, int new_directory, const char *new)
{
    return renameat2(old_directory, old, new_directory, new, 0);
}

int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int linkat(int old_directory, const char *old, int new_directory, const char *new, int flags)
{
    REAL(linkat);
    char other[PATH_MAX];
    full_path(new_directory, new, other);
    WATCHED_PATHS(old_directory, old, other, real(old_directory, old, new_directory, new, flags));
    IN_TURN(int, real(old_directory, old, new_directory, new, flags), note("link", path, other, 0, 0, "", 0));
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

/* -- bytes --------------------------------------------------------------------------------------------------------- */

static int64_t position(int descriptor)
{
    struct stat found;
    if (fcntl(descriptor, F_GETFL) & O_APPEND)
        return fstat(descriptor, &found) == 0 ? found.st_size : 0;
    return lseek(descriptor, 0, SEEK_CUR);
}

ssize_t write(int descriptor, const void *data, size_t size)
{
    REAL(write);
    WATCHED_DESCRIPTOR(descriptor, real(descriptor, data, size));
    int64_t offset = position(descriptor);
    IN_TURN(ssize_t, real(descriptor, data, turned == 1 && size > 1 ? size / 2 : size),
            note("write", path, "", inode_of(descriptor), offset, data, (size_t)result));
}

static ssize_t watched_pwrite(int descriptor, const void *data, size_t size, off64_t offset)
{
    REAL(pwrite64);
    WATCHED_DESCRIPTOR(descriptor, real(descriptor, data, size, offset));
    IN_TURN(ssize_t, real(descriptor, data, turned == 1 && size > 1 ? size / 2 : size, offset),
            note("write", path, "", inode_of(descriptor), offset, data, (size_t)result));
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset)
{
    return watched_pwrite(descriptor, data, size, offset);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset)
{
    return watched_pwrite(descriptor, data, size, offset);
}

static int watched_truncate(int descriptor, off64_t size)
{
    REAL(ftruncate64);
    WATCHED_DESCRIPTOR(descriptor, real(descriptor, size));
    IN_TURN(int, real(descriptor, size), note("resize", path, "", inode_of(descriptor), size, "", 0));
}

int ftruncate(int descriptor, off_t size) { return watched_truncate(descriptor, size); }

int ftruncate64(int descriptor, off64_t size) { return watched_truncate(descriptor, size); }

int fsync(int descriptor)
{
    REAL(fsync);
    WATCHED_DESCRIPTOR(descriptor, real(descriptor));
    IN_TURN(int, real(descriptor), note("sync", path, "", inode_of(descriptor), 0, "", 0));
}

int fdatasync(int descriptor)
{
    REAL(fdatasync);
    WATCHED_DESCRIPTOR(descriptor, real(descriptor));
    IN_TURN(int, real(descriptor), note("sync", path, "", inode_of(descriptor), 0, "", 0));
}

int syncfs(int descriptor)
{
    REAL(syncfs);
    WATCHED_DESCRIPTOR(descriptor, real(descriptor));
    IN_TURN(int, real(descriptor), note("syncfs", path, "", 0, 0, "", 0));
}

/* -- what is not counted must not happen --------------------------------------------------------------------------- */

#define UNKNOWN(type, name, parameters, arguments, find_path) \
    type name parameters \
    { \
        REAL(name); \
        char path[PATH_MAX]; \
        if (active) { \
            find_path; \
            if (is_watched(path)) { \
                fprintf(stderr, "interpose.c does not know %s, called for %s\n", #name, path); \
                abort(); \
            } \
        } \
        return real arguments; \
    }

UNKNOWN(ssize_t, writev, (int to, const struct iovec *parts, int count), (to, parts, count), path_of(to, path))
UNKNOWN(ssize_t, pwritev, (int to, const struct iovec *parts, int count, off_t offset), (to, parts, count, offset),
        path_of(to, path))
UNKNOWN(ssize_t, pwritev64v2, (int to, const struct iovec *parts, int count, off64_t offset, int flags),
        (to, parts, count, offset, flags), path_of(to, path))
UNKNOWN(ssize_t, copy_file_range, (int from, off64_t *in, int to, off64_t *out, size_t size, unsigned flags),
        (from, in, to, out, size, flags), path_of(to, path))
UNKNOWN(ssize_t, sendfile64, (int to, int from, off64_t *offset, size_t size), (to, from, offset, size),
        path_of(to, path))
UNKNOWN(int, truncate64, (const char *name, off64_t size), (name, size), full_path(AT_FDCWD, name, path))
UNKNOWN(int, symlink, (const char *to, const char *name), (to, name), full_path(AT_FDCWD, name, path))
UNKNOWN(int, symlinkat, (const char *to, int directory, const char *name), (to, directory, name),
        full_path(directory, name, path))
UNKNOWN(int, posix_fallocate64, (int to, off64_t offset, off64_t size), (to, offset, size), path_of(to, path))
UNKNOWN(int, fallocate64, (int to, int mode, off64_t offset, off64_t size), (to, mode, offset, size), path_of(to, path))
