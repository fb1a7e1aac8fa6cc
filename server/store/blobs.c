/* Content-addressed files in one folder. A blob is written to tmp-*, fsync'ed, renamed to its SHA-256, and the folder is
   fsync'ed: it is there whole or not at all. All file names are made here from checked hashes and opened relative to
   the folder's descriptor without following links. Owns the folder descriptor and the accounts of bytes. Any thread. */
#include "server/store/blobs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define COPY_STEP ((size_t)1 << 20)

struct bs_blobs {
    pthread_mutex_t mu; /* guards used, reserved, renames and removals; a leaf */
    int dir;
    struct bs_blob_limits limits;
    uint64_t used;     /* bytes of finished blobs */
    uint64_t reserved; /* bytes that open writers announced or wrote */
    atomic_ulong next; /* number of the next temporary file */
};

struct bs_blob_writer {
    struct bs_blobs *blobs;
    int fd;
    char name[48];
    uint64_t written, reserved;
    EVP_MD_CTX *md;
};

static void hex(const unsigned char *digest, char *out)
{
    for (int i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static bool hash_valid(const char *name)
{
    return strnlen(name, BS_BLOB_HASH_LEN + 1) == BS_BLOB_HASH_LEN &&
           strspn(name, "0123456789abcdef") == BS_BLOB_HASH_LEN;
}

/* The operating system's reason, without any path. */
static bs_status io_fail(struct bs_err *err, const char *doing)
{
    int e = errno;
    if (e == ENOSPC || e == EDQUOT || e == EFBIG)
        return BS_FAIL(err, BS_EIO, "could not %s: the disk is full", doing);
    return BS_FAIL(err, BS_EIO, "could not %s: %s", doing, strerror(e));
}

bs_status bs_blob_hash(const void *data, size_t n, char *hash, struct bs_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (EVP_Digest(data, n, digest, NULL, EVP_sha256(), NULL) != 1)
        return BS_FAIL(err, BS_ENOMEM, "SHA-256 could not be computed");
    hex(digest, hash);
    return BS_OK;
}

/* Sums what is there and removes what a crash left half written. */
static bs_status scan(struct bs_blobs *b, struct bs_err *err)
{
    int fd = openat(b->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        if (fd >= 0)
            close(fd);
        return io_fail(err, "list the blob folder");
    }
    struct dirent *entry;
    while ((entry = readdir(d))) {
        struct stat st;
        if (strncmp(entry->d_name, "tmp-", 4) == 0)
            unlinkat(b->dir, entry->d_name, 0);
        else if (hash_valid(entry->d_name) && fstatat(b->dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                 S_ISREG(st.st_mode))
            b->used += (uint64_t)st.st_size;
    }
    closedir(d);
    return BS_OK;
}

bs_status bs_blobs_open(const char *dir, const struct bs_blob_limits *limits, struct bs_blobs **out,
                        struct bs_err *err)
{
    struct bs_blobs *b = calloc(1, sizeof *b);
    if (!b)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while opening the blob folder");
    b->dir = -1;
    pthread_mutex_init(&b->mu, NULL);
    if (limits)
        b->limits = *limits;
    bs_status rc = BS_OK;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        rc = io_fail(err, "make the blob folder");
    else if ((b->dir = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
        rc = io_fail(err, "open the blob folder");
    else
        rc = scan(b, err);
    if (rc != BS_OK) {
        bs_blobs_close(b);
        return rc;
    }
    *out = b;
    return BS_OK;
}

void bs_blobs_close(struct bs_blobs *b)
{
    if (!b)
        return;
    if (b->dir >= 0)
        close(b->dir);
    pthread_mutex_destroy(&b->mu);
    free(b);
}

uint64_t bs_blobs_bytes(struct bs_blobs *b)
{
    pthread_mutex_lock(&b->mu);
    uint64_t n = b->used;
    pthread_mutex_unlock(&b->mu);
    return n;
}

int bs_blobs_folder(const struct bs_blobs *b)
{
    return b->dir;
}

/* Makes sure that the writer may hold `bytes` in all: raises its reservation or names the limit. */
static bs_status reserve(struct bs_blob_writer *w, uint64_t bytes, struct bs_err *err)
{
    struct bs_blobs *b = w->blobs;
    bs_status rc = BS_OK;
    if (bytes <= w->reserved)
        return BS_OK;
    uint64_t more = bytes - w->reserved;
    pthread_mutex_lock(&b->mu);
    uint64_t cap = b->limits.max_bytes, taken = b->used + b->reserved;
    struct statvfs fs;
    if (cap && (more > cap || taken > cap - more))
        rc = BS_FAIL(err, BS_ELIMIT,
                     "%" PRIu64 " more bytes would exceed the cap of %" PRIu64
                     " bytes on stored images, results and "
                     "models (%" PRIu64 " in use)",
                     more, cap, taken);
    else if (fstatvfs(b->dir, &fs) != 0)
        rc = io_fail(err, "ask for free disk space");
    else {
        /* What other writers announced but have not written yet is not free either; counting their written part
           twice errs on the safe side. */
        uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
        uint64_t needed;
        if (__builtin_add_overflow(b->limits.reserve_bytes, b->reserved, &needed) ||
            __builtin_add_overflow(needed, more, &needed) || needed > available)
            rc = BS_FAIL(err, BS_ELIMIT,
                         "%" PRIu64 " more bytes would leave less than the reserve of %" PRIu64
                         " bytes free on the "
                         "disk (%" PRIu64 " available)",
                         more, b->limits.reserve_bytes, available);
    }
    if (rc == BS_OK) {
        b->reserved += more;
        w->reserved = bytes;
    }
    pthread_mutex_unlock(&b->mu);
    return rc;
}

/* Gives the reservation back; `kept` bytes became a blob. Called with mu held. */
static void settle(struct bs_blob_writer *w, uint64_t kept)
{
    w->blobs->reserved -= w->reserved;
    w->blobs->used += kept;
    w->reserved = 0;
}

static void writer_free(struct bs_blob_writer *w)
{
    if (w->fd >= 0)
        close(w->fd);
    EVP_MD_CTX_free(w->md);
    free(w);
}

void bs_blob_abort(struct bs_blob_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0)
        unlinkat(w->blobs->dir, w->name, 0);
    pthread_mutex_lock(&w->blobs->mu);
    settle(w, 0);
    pthread_mutex_unlock(&w->blobs->mu);
    writer_free(w);
}

bs_status bs_blob_writer_open(struct bs_blobs *b, uint64_t total_hint, struct bs_blob_writer **out,
                              struct bs_err *err)
{
    struct bs_blob_writer *w = calloc(1, sizeof *w);
    bs_status rc = BS_OK;
    if (!w)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while opening a blob");
    w->blobs = b;
    w->fd = -1;
    if (!(w->md = EVP_MD_CTX_new()) || EVP_DigestInit_ex(w->md, EVP_sha256(), NULL) != 1) {
        rc = BS_FAIL(err, BS_ENOMEM, "out of memory while opening a blob");
    } else if ((rc = reserve(w, total_hint, err)) == BS_OK) {
        snprintf(w->name, sizeof w->name, "tmp-%d-%lu", (int)getpid(), atomic_fetch_add(&b->next, 1));
        w->fd = openat(b->dir, w->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (w->fd < 0)
            rc = io_fail(err, "make a blob");
    }
    if (rc != BS_OK) {
        bs_blob_abort(w);
        return rc;
    }
    *out = w;
    return BS_OK;
}

bs_status bs_blob_write(struct bs_blob_writer *w, const void *data, size_t n, struct bs_err *err)
{
    bs_status rc = reserve(w, w->written + n, err);
    if (rc != BS_OK)
        return rc;
    const unsigned char *p = data;
    size_t left = n;
    while (left > 0) {
        ssize_t put = write(w->fd, p, left);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return io_fail(err, "write a blob");
        p += put;
        left -= (size_t)put;
    }
    if (EVP_DigestUpdate(w->md, data, n) != 1)
        return BS_FAIL(err, BS_EINTERNAL, "SHA-256 could not be computed");
    w->written += n;
    return BS_OK;
}

/* Renames the finished file to its hash, or drops it when the blob is already there. */
static bs_status publish(struct bs_blob_writer *w, const char *hash, struct bs_err *err)
{
    struct bs_blobs *b = w->blobs;
    struct stat st;
    bs_status rc = BS_OK;
    pthread_mutex_lock(&b->mu);
    if (fstatat(b->dir, hash, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        (uint64_t)st.st_size == w->written) {
        /* Its age restarts, so that a sweep leaves it until whoever stores it now has named it in the store. */
        unlinkat(b->dir, w->name, 0);
        utimensat(b->dir, hash, NULL, AT_SYMLINK_NOFOLLOW);
        settle(w, 0);
    } else if (renameat(b->dir, w->name, b->dir, hash) == 0) {
        settle(w, w->written);
    } else {
        rc = io_fail(err, "name a blob");
        unlinkat(b->dir, w->name, 0);
        settle(w, 0);
    }
    pthread_mutex_unlock(&b->mu);
    /* Also when it was there already: its first writer may not have come to this yet. */
    if (rc == BS_OK && fsync(b->dir) != 0)
        rc = io_fail(err, "make a blob durable");
    return rc;
}

bs_status bs_blob_commit(struct bs_blob_writer *w, char *hash, struct bs_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    bs_status rc = BS_OK;
    if (EVP_DigestFinal_ex(w->md, digest, NULL) != 1)
        rc = BS_FAIL(err, BS_EINTERNAL, "SHA-256 could not be computed");
    else if (fchmod(w->fd, 0400) != 0 || fsync(w->fd) != 0)
        rc = io_fail(err, "make a blob durable");
    if (rc != BS_OK) {
        bs_blob_abort(w);
        return rc;
    }
    hex(digest, hash);
    rc = publish(w, hash, err);
    writer_free(w);
    return rc;
}

bs_status bs_blob_put(struct bs_blobs *b, const void *data, size_t n, char *hash, struct bs_err *err)
{
    struct bs_blob_writer *w;
    bs_status rc = bs_blob_writer_open(b, n, &w, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = bs_blob_write(w, data, n, err)) != BS_OK) {
        bs_blob_abort(w);
        return rc;
    }
    return bs_blob_commit(w, hash, err);
}

bs_status bs_blob_put_fd(struct bs_blobs *b, int fd, uint64_t n, char *hash, struct bs_err *err)
{
    struct bs_blob_writer *w = NULL;
    unsigned char *buffer = malloc(COPY_STEP);
    bs_status rc = buffer ? BS_OK : BS_FAIL(err, BS_ENOMEM, "out of memory while storing a blob");
    if (rc == BS_OK)
        rc = bs_blob_writer_open(b, n, &w, err);
    for (uint64_t at = 0; rc == BS_OK && at < n;) {
        ssize_t got = pread(fd, buffer, n - at < COPY_STEP ? (size_t)(n - at) : COPY_STEP, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = io_fail(err, "read what is to be stored");
        else if (got == 0)
            rc = BS_FAIL(err, BS_EIO, "what is to be stored ends at byte %" PRIu64 " of %" PRIu64, at, n);
        else if ((rc = bs_blob_write(w, buffer, (size_t)got, err)) == BS_OK)
            at += (uint64_t)got;
    }
    free(buffer);
    if (rc != BS_OK) {
        bs_blob_abort(w);
        return rc;
    }
    return bs_blob_commit(w, hash, err);
}

bs_status bs_blob_open(struct bs_blobs *b, const char *hash, int *fd, uint64_t *size, struct bs_err *err)
{
    *fd = -1;
    if (!hash || !hash_valid(hash))
        return BS_FAIL(err, BS_EINVAL, "'%.80s' is not a SHA-256 of 64 hex digits", hash ? hash : "");
    struct stat st;
    int f = openat(b->dir, hash, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (f < 0 && errno == ENOENT)
        return BS_FAIL(err, BS_ENOTFOUND, "blob %.12s... is not stored here (any more)", hash);
    if (f < 0 || fstat(f, &st) != 0 || !S_ISREG(st.st_mode)) {
        bs_status rc = io_fail(err, "open a blob");
        if (f >= 0)
            close(f);
        return rc;
    }
    *fd = f;
    *size = (uint64_t)st.st_size;
    return BS_OK;
}

/* Removes a blob last touched before `before` (seconds since 1970; 0: whatever its age). */
static bs_status remove_older(struct bs_blobs *b, const char *hash, time_t before, bool *removed,
                              struct bs_err *err)
{
    struct stat st;
    bs_status rc = BS_OK;
    *removed = false;
    pthread_mutex_lock(&b->mu);
    if (fstatat(b->dir, hash, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT)
            rc = io_fail(err, "look at a blob");
    } else if (before == 0 || st.st_mtime < before) {
        if (unlinkat(b->dir, hash, 0) != 0) {
            rc = io_fail(err, "delete a blob");
        } else {
            *removed = true;
            b->used -= (uint64_t)st.st_size < b->used ? (uint64_t)st.st_size : b->used;
        }
    }
    pthread_mutex_unlock(&b->mu);
    return rc;
}

bs_status bs_blob_delete(struct bs_blobs *b, const char *hash, struct bs_err *err)
{
    bool removed;
    if (!hash || !hash_valid(hash))
        return BS_FAIL(err, BS_EINVAL, "'%.80s' is not a SHA-256 of 64 hex digits", hash ? hash : "");
    return remove_older(b, hash, 0, &removed, err);
}

bs_status bs_blobs_sweep(struct bs_blobs *b, int older_than_s, bs_blob_in_use_fn in_use, void *ctx,
                         int *count, struct bs_err *err)
{
    *count = 0;
    time_t before = time(NULL) - older_than_s + (older_than_s == 0);
    int fd = openat(b->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        if (fd >= 0)
            close(fd);
        return io_fail(err, "list the blob folder");
    }
    bs_status rc = BS_OK;
    struct dirent *entry;
    while (rc == BS_OK && (entry = readdir(d))) {
        struct stat st;
        bool used = true, removed = false;
        if (!hash_valid(entry->d_name) || fstatat(b->dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            st.st_mtime >= before)
            continue;
        if ((rc = in_use(ctx, entry->d_name, &used, err)) == BS_OK && !used)
            rc = remove_older(b, entry->d_name, before, &removed, err);
        *count += removed;
    }
    closedir(d);
    return rc;
}
