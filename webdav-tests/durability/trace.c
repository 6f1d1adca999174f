/* Writes down what a process asks of the file system below one directory, in order, with all data.
 *
 * Preloaded into the process under test by webdav-tests/durability/power.rs, which says what the numbers mean.
 * KALENDS_TRACE_ROOT: the directory. KALENDS_TRACE: the file to write to, if anything is to be written down.
 * KALENDS_FAIL "from count errno": that many writes at an offset fail, from that one on (see broken.rs). A write is noted while it is done, so that
 * no other comes between; of a sync both ends are noted, for it covers only what was complete when it began. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MKDIR, RMDIR, DIRSYNC_BEGIN };

struct header {
    uint32_t op, path_len;
    uint64_t file;
    int64_t offset;
    uint64_t len;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int out = -1;
static char root[PATH_MAX];
static size_t root_len;
static uint64_t syncs;
static long fail_from = -1, fail_count, fail_with, offset_writes;

static void put(const void *data, size_t len) {
    const char *at = data;
    while (len > 0) {
        ssize_t done = syscall(SYS_write, out, at, len);
        if (done <= 0) _exit(97);
        at += done;
        len -= (size_t)done;
    }
}

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("KALENDS_TRACE"), *dir = getenv("KALENDS_TRACE_ROOT");
    if (!dir || strlen(dir) >= sizeof root) return;
    strcpy(root, dir);
    root_len = strlen(root);
    if (getenv("KALENDS_FAIL")) sscanf(getenv("KALENDS_FAIL"), "%ld %ld %ld", &fail_from, &fail_count, &fail_with);
    if (file) out = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static void note(uint32_t op, const char *path, size_t path_len, uint64_t file, int64_t offset, const void *data,
                 uint64_t len) {
    if (out < 0) return;
    struct header header = {op, (uint32_t)path_len, file, offset, len};
    put(&header, sizeof header);
    if (path_len) put(path, path_len);
    if (data) put(data, len);
}

static int inside(const char *path) {
    return root_len && strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == 0);
}

/* The path of an open file, if it lies below the root. */
static int path_of(int fd, char *path) {
    char link[64];
    if (!root_len) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    if (len <= 0) return 0;
    path[len] = 0;
    return inside(path);
}

static uint64_t id_of(int fd, int *is_dir) {
    struct stat info;
    if (fstat(fd, &info) != 0) return 0;
    if (is_dir) *is_dir = S_ISDIR(info.st_mode);
    return info.st_ino;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int opened(int fd, int flags) {
    char path[PATH_MAX];
    int is_dir = 0;
    if (fd >= 0 && path_of(fd, path)) {
        uint64_t id = id_of(fd, &is_dir);
        if (!is_dir) {
            note(OPEN, path, strlen(path), id, 0, NULL, 0);
            if (flags & O_TRUNC) note(TRUNCATE, NULL, 0, id, 0, NULL, 0);
        }
    }
    return fd;
}

#define OPENER(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        pthread_mutex_lock(&lock); \
        int fd = opened(real(path, flags, mode), flags); \
        pthread_mutex_unlock(&lock); \
        return fd; \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name) \
    int name(int dir, const char *path, int flags, ...) { \
        REAL(name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        pthread_mutex_lock(&lock); \
        int fd = opened(real(dir, path, flags, mode), flags); \
        pthread_mutex_unlock(&lock); \
        return fd; \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

ssize_t write(int fd, const void *data, size_t len) {
    REAL(write);
    char path[PATH_MAX];
    if (!path_of(fd, path)) return real(fd, data, len);
    pthread_mutex_lock(&lock);
    ssize_t done = real(fd, data, len);
    if (done > 0) note(WRITE, NULL, 0, id_of(fd, NULL), lseek(fd, 0, SEEK_CUR) - done, data, (uint64_t)done);
    pthread_mutex_unlock(&lock);
    return done;
}

#define WRITER(name, type) \
    ssize_t name(int fd, const void *data, size_t len, type offset) { \
        REAL(name); \
        char path[PATH_MAX]; \
        if (!path_of(fd, path)) return real(fd, data, len, offset); \
        pthread_mutex_lock(&lock); \
        long number = offset_writes++; \
        if (fail_from >= 0 && number >= fail_from && number < fail_from + fail_count) { \
            pthread_mutex_unlock(&lock); \
            errno = (int)fail_with; \
            return -1; \
        } \
        ssize_t done = real(fd, data, len, offset); \
        if (done > 0) note(WRITE, NULL, 0, id_of(fd, NULL), offset, data, (uint64_t)done); \
        pthread_mutex_unlock(&lock); \
        return done; \
    }
WRITER(pwrite, off_t)
WRITER(pwrite64, off64_t)

#define TRUNCATER(name, type) \
    int name(int fd, type len) { \
        REAL(name); \
        char path[PATH_MAX]; \
        if (!path_of(fd, path)) return real(fd, len); \
        pthread_mutex_lock(&lock); \
        int done = real(fd, len); \
        if (done == 0) note(TRUNCATE, NULL, 0, id_of(fd, NULL), len, NULL, 0); \
        pthread_mutex_unlock(&lock); \
        return done; \
    }
TRUNCATER(ftruncate, off_t)
TRUNCATER(ftruncate64, off64_t)

/* sync_file_range is left alone: it makes neither the size nor the extents nor the device's cache durable. */
#define SYNCER(name) \
    int name(int fd) { \
        REAL(name); \
        char path[PATH_MAX]; \
        if (!path_of(fd, path)) return real(fd); \
        int is_dir = 0; \
        pthread_mutex_lock(&lock); \
        uint64_t id = id_of(fd, &is_dir); \
        int64_t token = (int64_t)++syncs; \
        note(is_dir ? DIRSYNC_BEGIN : SYNC_BEGIN, path, strlen(path), id, token, NULL, 0); \
        pthread_mutex_unlock(&lock); \
        int done = real(fd); \
        pthread_mutex_lock(&lock); \
        if (done == 0) note(SYNC_END, NULL, 0, id, token, NULL, 0); \
        pthread_mutex_unlock(&lock); \
        return done; \
    }
SYNCER(fsync)
SYNCER(fdatasync)

int rename(const char *from, const char *to) {
    REAL(rename);
    if (!inside(from) && !inside(to)) return real(from, to);
    char both[2 * PATH_MAX];
    size_t len = (size_t)snprintf(both, sizeof both, "%s%c%s", from, 1, to);
    pthread_mutex_lock(&lock);
    int done = real(from, to);
    if (done == 0) note(RENAME, both, len, 0, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

static int gone(int done, uint32_t op, const char *path) {
    if (done == 0) note(op, path, strlen(path), 0, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) {
    REAL(unlink);
    if (!inside(path)) return real(path);
    pthread_mutex_lock(&lock);
    return gone(real(path), UNLINK, path);
}

int rmdir(const char *path) {
    REAL(rmdir);
    if (!inside(path)) return real(path);
    pthread_mutex_lock(&lock);
    return gone(real(path), RMDIR, path);
}

int unlinkat(int dir, const char *name, int flags) {
    REAL(unlinkat);
    char path[PATH_MAX], whole[2 * PATH_MAX];
    if (dir == AT_FDCWD || name[0] == '/') {
        snprintf(whole, sizeof whole, "%s", name);
    } else if (path_of(dir, path)) {
        snprintf(whole, sizeof whole, "%s/%s", path, name);
    } else {
        return real(dir, name, flags);
    }
    if (!inside(whole)) return real(dir, name, flags);
    pthread_mutex_lock(&lock);
    return gone(real(dir, name, flags), (flags & AT_REMOVEDIR) ? RMDIR : UNLINK, whole);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    if (!inside(path)) return real(path, mode);
    pthread_mutex_lock(&lock);
    int done = real(path, mode);
    if (done == 0) note(MKDIR, path, strlen(path), 0, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
