/* Preloaded into a process, this makes the n-th write below a folder fail, as a full or broken disk does.
 *
 * What counts: bytes written, syncs, truncations, and files and folders that are made, linked or renamed. A write that
 * fails has written half of its bytes, so that what is left behind is torn.
 *
 * Armed to kill, the process ends by SIGKILL instead of its n-th change; what is taken away counts as well then.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX];
enum { ONCE, FOREVER, KILL };
static int nth, how, seen, failed;
static __thread int busy;

void disk_arm(const char *folder, int n, int what) {
    strncpy(below, folder, sizeof below - 1);
    seen = failed = 0;
    how = what;
    nth = n;
}
int disk_seen(void) { return seen; }
int disk_failed(void) { return failed; }

static int inside(const char *path) { return below[0] && strncmp(path, below, strlen(below)) == 0; }

static int ours(int fd) {
    char link[64], path[PATH_MAX];
    if (!below[0] || busy) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return inside(path);
}

static int fails(void) {
    int at = __sync_add_and_fetch(&seen, 1);
    if (nth && (at == nth || (how == FOREVER && at > nth))) {
        __sync_add_and_fetch(&failed, 1);
        return 1;
    }
    return 0;
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })
#define REFUSE(code) do { if (how == KILL) raise(SIGKILL); errno = code; return -1; } while (0)

ssize_t write(int fd, const void *data, size_t n) {
    if (ours(fd) && fails()) {
        if (n > 1) REAL(write)(fd, data, n / 2);
        REFUSE(ENOSPC);
    }
    return REAL(write)(fd, data, n);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    if (ours(fd) && fails()) {
        if (n > 1) REAL(pwrite64)(fd, data, n / 2, at);
        REFUSE(ENOSPC);
    }
    return REAL(pwrite64)(fd, data, n, at);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    if (ours(fd) && fails()) {
        if (n > 1) REAL(pwrite)(fd, data, n / 2, at);
        REFUSE(ENOSPC);
    }
    return REAL(pwrite)(fd, data, n, at);
}
int fsync(int fd) {
    if (ours(fd) && fails()) REFUSE(EIO);
    return REAL(fsync)(fd);
}
int fdatasync(int fd) {
    if (ours(fd) && fails()) REFUSE(EIO);
    return REAL(fdatasync)(fd);
}
int ftruncate(int fd, off_t n) {
    if (ours(fd) && fails()) REFUSE(EIO);
    return REAL(ftruncate)(fd, n);
}
int ftruncate64(int fd, off64_t n) {
    if (ours(fd) && fails()) REFUSE(EIO);
    return REAL(ftruncate64)(fd, n);
}
int mkdir(const char *path, mode_t mode) {
    if (inside(path) && fails()) REFUSE(ENOSPC);
    return REAL(mkdir)(path, mode);
}
int link(const char *from, const char *to) {
    if (inside(to) && fails()) REFUSE(ENOSPC);
    return REAL(link)(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    if (inside(to) && fails()) REFUSE(ENOSPC);
    return REAL(linkat)(a, from, b, to, flags);
}
int rename(const char *from, const char *to) {
    if (inside(to) && fails()) REFUSE(ENOSPC);
    return REAL(rename)(from, to);
}
int unlink(const char *path) {
    if (how == KILL && inside(path) && fails()) REFUSE(EIO);
    return REAL(unlink)(path);
}
static int creates(const char *path, int flags) { return inside(path) && (flags & O_CREAT) && access(path, F_OK) != 0; }
#define OPEN(name)                                                    \
    int name(const char *path, int flags, ...) {                     \
        va_list more;                                                 \
        va_start(more, flags);                                        \
        mode_t mode = (flags & O_CREAT) ? va_arg(more, mode_t) : 0;   \
        va_end(more);                                                 \
        if (creates(path, flags) && fails()) REFUSE(ENOSPC);          \
        return REAL(name)(path, flags, mode);                         \
    }
OPEN(open)
OPEN(open64)
