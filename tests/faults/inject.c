/* Faults for a process that runs unchanged: loaded with LD_PRELOAD, steered by a file that its test has mapped.
 *
 * REVERIE_INJECT names the control file. Its layout is `struct control`; tests/injection.py writes the same one.
 * Every call named in a rule whose pattern matches the call's path is counted; from the rule's `after`-th call on,
 * for `count` calls or for ever, it fails, is cut short, waits, or ends the process before it runs.
 *
 * Two more powers. `shift_ns` moves the wall clock, and no other. `shadow` names a folder that receives what a loss
 * of power would leave: the contents of each file under `tracked` at its last successful sync, and the names in each
 * directory at its own. POSIX_FADV_DONTNEED, when a rule fails it, shows that content instead of what was written
 * since: as if the kernel had given up pages that it could never write.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "the 64-bit names are aliases of the plain ones");

enum call {
    OPEN = 1, READ = 2, PREAD = 4, WRITE = 8, PWRITE = 16, FDATASYNC = 32, FSYNC = 64, FTRUNCATE = 128,
    FALLOCATE = 256, RENAME = 512, LINK = 1024, UNLINK = 2048, MMAP = 4096, MKDIR = 8192,
    FADVISE = 16384
};
enum action { COUNT, FAIL, SHORT, DELAY, KILL };

struct rule {
    uint32_t active, calls, action, error;
    int64_t after, count, amount, matched, fired;
    char pattern[256];
};
struct control {
    char magic[8];
    int64_t shift_ns;
    char tracked[256], shadow[256];
    struct rule rules[32];
};

static struct control *control;
static pthread_mutex_t shadowing = PTHREAD_MUTEX_INITIALIZER;

/* The next definition of a function, as a pointer of its own type. */
#define REAL(name) ({ \
    static __typeof__(&name) real_; \
    if (!real_) real_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    real_; })
#define ALIAS(other, name) extern __typeof__(name) other __attribute__((alias(#name)))

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("REVERIE_INJECT");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = (void *)syscall(SYS_mmap, NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED && !memcmp(((struct control *)at)->magic, "INJECT1", 8)) control = at;
    syscall(SYS_close, fd);
}

static const char *path_of(int fd, char *into) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, into, PATH_MAX - 1);
    into[n > 0 ? n : 0] = 0;
    return into;
}

static const char *path_at(int folder, const char *path, char *into) {
    if (path[0] == '/') return path;
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, into, PATH_MAX) < 0) into[0] = 0;
    } else {
        path_of(folder, into);
    }
    size_t n = strlen(into);
    snprintf(into + n, PATH_MAX - n, "/%s", path);
    return into;
}

/* What is to happen to a call: an errno, and in `limit` the bytes that it may move. May not return. */
static int fault(enum call call, const char *path, const char *other, size_t *limit) {
    int error = 0, saved = errno;
    for (struct rule *rule = control->rules; rule < control->rules + 32; rule++) {
        if (!__atomic_load_n(&rule->active, __ATOMIC_ACQUIRE) || !(rule->calls & call)) continue;
        if (fnmatch(rule->pattern, path, 0) && (!other || fnmatch(rule->pattern, other, 0))) continue;
        int64_t number = __atomic_fetch_add(&rule->matched, 1, __ATOMIC_ACQ_REL);
        if (number < rule->after || (rule->count >= 0 && number >= rule->after + rule->count)) continue;
        __atomic_fetch_add(&rule->fired, 1, __ATOMIC_ACQ_REL);
        if (rule->action == FAIL) error = (int)rule->error;
        if (rule->action == SHORT && limit && *limit > (size_t)rule->amount) *limit = (size_t)rule->amount;
        if (rule->action == DELAY) {
            struct timespec pause = {rule->amount / 1000000, rule->amount % 1000000 * 1000};
            syscall(SYS_nanosleep, &pause, NULL);
        }
        if (rule->action == KILL) syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    }
    errno = saved;
    return error;
}

static int fault_of(enum call call, int fd, size_t *limit) {
    char path[PATH_MAX];
    return control ? fault(call, path_of(fd, path), NULL, limit) : 0;
}

static int fault_at(enum call call, int folder, const char *path) {
    char whole[PATH_MAX];
    return control ? fault(call, path_at(folder, path, whole), NULL, NULL) : 0;
}

static int fault_between(enum call call, int from, const char *a, int to, const char *b) {
    char first[PATH_MAX], second[PATH_MAX];
    return control ? fault(call, path_at(from, a, first), path_at(to, b, second), NULL) : 0;
}

#define FAILS(error, result) do { int error_ = (error); if (error_) { errno = error_; return result; } } while (0)

/* At most `limit` bytes of some buffers, in `cut`, which is as long as they are. Returns how many buffers. */
static int first_bytes(const struct iovec *buffers, int n, size_t limit, struct iovec *cut) {
    int i = 0;
    for (; i < n && limit > 0; i++) {
        cut[i] = buffers[i];
        if (cut[i].iov_len > limit) cut[i].iov_len = limit;
        limit -= cut[i].iov_len;
    }
    return i;
}

ssize_t write(int fd, const void *data, size_t size) {
    FAILS(fault_of(WRITE, fd, &size), -1);
    return REAL(write)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    FAILS(fault_of(PWRITE, fd, &size), -1);
    return REAL(pwrite)(fd, data, size, at);
}
ALIAS(pwrite64, pwrite);
ssize_t writev(int fd, const struct iovec *buffers, int n) {
    size_t limit = SIZE_MAX;
    struct iovec cut[IOV_MAX];
    FAILS(fault_of(WRITE, fd, &limit), -1);
    return REAL(writev)(fd, cut, first_bytes(buffers, n > IOV_MAX ? IOV_MAX : n, limit, cut));
}
ssize_t pwritev(int fd, const struct iovec *buffers, int n, off_t at) {
    size_t limit = SIZE_MAX;
    struct iovec cut[IOV_MAX];
    FAILS(fault_of(PWRITE, fd, &limit), -1);
    return REAL(pwritev)(fd, cut, first_bytes(buffers, n > IOV_MAX ? IOV_MAX : n, limit, cut), at);
}
ALIAS(pwritev64, pwritev);
ssize_t pwritev2(int fd, const struct iovec *buffers, int n, off_t at, int flags) {
    size_t limit = SIZE_MAX;
    struct iovec cut[IOV_MAX];
    FAILS(fault_of(PWRITE, fd, &limit), -1);
    return REAL(pwritev2)(fd, cut, first_bytes(buffers, n > IOV_MAX ? IOV_MAX : n, limit, cut), at, flags);
}
ALIAS(pwritev64v2, pwritev2);

ssize_t read(int fd, void *data, size_t size) {
    FAILS(fault_of(READ, fd, &size), -1);
    return REAL(read)(fd, data, size);
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    FAILS(fault_of(PREAD, fd, &size), -1);
    return REAL(pread)(fd, data, size, at);
}
ALIAS(pread64, pread);
ssize_t preadv2(int fd, const struct iovec *buffers, int n, off_t at, int flags) {
    FAILS(fault_of(PREAD, fd, NULL), -1);
    return REAL(preadv2)(fd, buffers, n, at, flags);
}
ALIAS(preadv64v2, preadv2);
void *mmap(void *where, size_t size, int protection, int flags, int fd, off_t at) {
    if (fd >= 0) FAILS(fault_of(MMAP, fd, NULL), MAP_FAILED);
    return (void *)syscall(SYS_mmap, where, size, protection, flags, fd, at);
}
ALIAS(mmap64, mmap);

int ftruncate(int fd, off_t size) {
    FAILS(fault_of(FTRUNCATE, fd, NULL), -1);
    return REAL(ftruncate)(fd, size);
}
ALIAS(ftruncate64, ftruncate);
int posix_fallocate(int fd, off_t at, off_t size) {
    int error = fault_of(FALLOCATE, fd, NULL);
    return error ? error : REAL(posix_fallocate)(fd, at, size);
}
ALIAS(posix_fallocate64, posix_fallocate);
int fallocate(int fd, int mode, off_t at, off_t size) {
    FAILS(fault_of(FALLOCATE, fd, NULL), -1);
    return REAL(fallocate)(fd, mode, at, size);
}
ALIAS(fallocate64, fallocate);

/* Puts the content of the shadow in place of the file's, from `at` on. */
static void reveal(int fd, off_t at) {
    char name[PATH_MAX], link[64], bytes[4096];
    struct stat about;
    if (fstat(fd, &about)) return;
    snprintf(name, sizeof name, "%s/f%lu", control->shadow, (unsigned long)about.st_ino);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int from = (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    int to = (int)syscall(SYS_openat, AT_FDCWD, link, O_WRONLY | O_CLOEXEC);
    for (; at < about.st_size; at += (off_t)sizeof bytes) {
        memset(bytes, 0, sizeof bytes);
        syscall(SYS_pread64, from, bytes, sizeof bytes, at);
        off_t rest = about.st_size - at;
        syscall(SYS_pwrite64, to, bytes, rest < (off_t)sizeof bytes ? (size_t)rest : sizeof bytes, at);
    }
    syscall(SYS_close, from);
    syscall(SYS_close, to);
}
int posix_fadvise(int fd, off_t at, off_t size, int advice) {
    if (fault_of(FADVISE, fd, NULL)) reveal(fd, at);
    return REAL(posix_fadvise)(fd, at, size, advice);
}
ALIAS(posix_fadvise64, posix_fadvise);

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(rest, int) : 0;
}
int openat(int folder, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    FAILS(fault_at(OPEN, folder, path), -1);
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}
ALIAS(openat64, openat);
int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return openat(AT_FDCWD, path, flags, mode);
}
ALIAS(open64, open);

int renameat2(int from, const char *a, int to, const char *b, unsigned flags) {
    FAILS(fault_between(RENAME, from, a, to, b), -1);
    return (int)syscall(SYS_renameat2, from, a, to, b, flags);
}
int renameat(int from, const char *a, int to, const char *b) { return renameat2(from, a, to, b, 0); }
int rename(const char *a, const char *b) { return renameat2(AT_FDCWD, a, AT_FDCWD, b, 0); }
int linkat(int from, const char *a, int to, const char *b, int flags) {
    FAILS(fault_between(LINK, from, a, to, b), -1);
    return (int)syscall(SYS_linkat, from, a, to, b, flags);
}
int link(const char *a, const char *b) { return linkat(AT_FDCWD, a, AT_FDCWD, b, 0); }
int unlinkat(int folder, const char *path, int flags) {
    FAILS(fault_at(UNLINK, folder, path), -1);
    return (int)syscall(SYS_unlinkat, folder, path, flags);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int mkdir(const char *path, mode_t mode) {
    FAILS(fault_at(MKDIR, AT_FDCWD, path), -1);
    return REAL(mkdir)(path, mode);
}

/* Copies what file `fd` holds now to shadow/.new; a directory's names with their inodes. */
static void snapshot(int fd, int is_folder) {
    char path[PATH_MAX], new[PATH_MAX];
    snprintf(new, sizeof new, "%s/.new", control->shadow);
    int to = (int)syscall(SYS_openat, AT_FDCWD, new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (is_folder) {
        DIR *folder = opendir(path_of(fd, path));
        for (struct dirent *entry; folder && (entry = readdir(folder));)
            dprintf(to, "%lu %c %s\n", (unsigned long)entry->d_ino, entry->d_type == DT_DIR ? 'd' : 'f', entry->d_name);
        if (folder) closedir(folder);
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int from = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
        while (syscall(SYS_copy_file_range, from, NULL, to, NULL, (size_t)1 << 30, 0) > 0) continue;
        syscall(SYS_close, from);
    }
    syscall(SYS_close, to);
}

/* Sync by `real`; what the file held before is what has reached the disk for certain. */
static int synced(int fd, enum call call, int (*real)(int)) {
    char path[PATH_MAX], new[PATH_MAX], name[PATH_MAX];
    struct stat about;
    FAILS(fault_of(call, fd, NULL), -1);
    int tracked = control && control->shadow[0] && !fnmatch(control->tracked, path_of(fd, path), 0);
    if (!tracked || fstat(fd, &about)) return real(fd);
    pthread_mutex_lock(&shadowing);
    snapshot(fd, S_ISDIR(about.st_mode));
    int result = real(fd), error = errno;
    snprintf(new, sizeof new, "%s/.new", control->shadow);
    snprintf(name, sizeof name, "%s/%c%lu", control->shadow, S_ISDIR(about.st_mode) ? 'd' : 'f', (unsigned long)about.st_ino);
    if (!result) syscall(SYS_renameat2, AT_FDCWD, new, AT_FDCWD, name, 0);
    pthread_mutex_unlock(&shadowing);
    errno = error;
    return result;
}
int fdatasync(int fd) { return synced(fd, FDATASYNC, REAL(fdatasync)); }
int fsync(int fd) { return synced(fd, FSYNC, REAL(fsync)); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = REAL(clock_gettime)(clock, now);
    if (control && !result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = now->tv_sec * 1000000000LL + now->tv_nsec + __atomic_load_n(&control->shift_ns, __ATOMIC_RELAXED);
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}
time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
