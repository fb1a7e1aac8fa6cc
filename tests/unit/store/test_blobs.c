/* The blobs' promises: named by content, whole or absent, inside the limits, never outside their folder. */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ABC_HASH                                                                                             \
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* SHA-256 of "abc", FIPS 180-2 */

static struct bs_blobs *open_blobs(const char *dir, uint64_t cap, uint64_t keep_free)
{
    struct bs_blobs *b = NULL;
    struct bs_err err = {.msg = ""};
    if (bs_blobs_open(dir, &(struct bs_blob_limits){cap, keep_free}, &b, &err) != BS_OK)
        fail_msg("blobs did not open: %s", err.msg);
    return b;
}

static int files_in(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    struct dirent *e;
    while ((e = readdir(d)))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void a_blob_is_named_by_its_content_and_stored_once(void **state)
{
    struct bs_blobs *b = open_blobs(*state, 0, 0);
    struct bs_err err;
    char hash[65];
    uint64_t size;
    int fd;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bs_blob_put(b, "abc", 3, hash, &err), BS_OK);
        assert_string_equal(hash, ABC_HASH);
        assert_int_equal(bs_blobs_bytes(b), 3);
    }
    assert_int_equal(files_in(*state), 1);
    assert_int_equal(bs_blob_open(b, hash, &fd, &size, &err), BS_OK);
    char text[4] = "";
    assert_int_equal(read(fd, text, 4), 3);
    assert_string_equal(text, "abc");
    assert_int_equal(size, 3);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    close(fd);
    bs_blobs_close(b);
    b = open_blobs(*state, 0, 0);
    assert_int_equal(bs_blobs_bytes(b), 3);
    assert_int_equal(bs_blob_delete(b, hash, &err), BS_OK);
    assert_int_equal(bs_blobs_bytes(b), 0);
    assert_int_equal(bs_blob_open(b, hash, &fd, &size, &err), BS_ENOTFOUND);
    bs_blobs_close(b);
}

static void names_from_outside_reach_no_other_file(void **state)
{
    struct bs_blobs *b = open_blobs(*state, 0, 0);
    struct bs_err err;
    uint64_t size;
    int fd;
    char path[512], link[65] = HASH_A;
    static const char *const bad[] = {"",
                                      "..",
                                      "../../etc/passwd",
                                      "/etc/passwd",
                                      "abc",
                                      HASH_A "a",
                                      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(bs_blob_open(b, bad[i], &fd, &size, &err), BS_EINVAL);
        assert_int_equal(bs_blob_delete(b, bad[i], &err), BS_EINVAL);
    }
    snprintf(path, sizeof path, "%s/%s", (char *)*state, link);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(bs_blob_open(b, link, &fd, &size, &err), BS_EIO);
    assert_int_equal(fd, -1);
    bs_blobs_close(b);
}

static void leftovers_of_a_crash_go_at_the_next_start(void **state)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tmp-1-1", (char *)*state);
    FILE *f = fopen(path, "w");
    fputs("half", f);
    fclose(f);
    struct bs_blobs *b = open_blobs(*state, 0, 0);
    assert_int_equal(files_in(*state), 0);
    assert_int_equal(bs_blobs_bytes(b), 0);
    bs_blobs_close(b);
}

static void an_aborted_blob_leaves_nothing(void **state)
{
    struct bs_blobs *b = open_blobs(*state, 1000, 0);
    struct bs_err err;
    struct bs_blob_writer *w;
    char hash[65], buffer[1000] = "";
    assert_int_equal(bs_blob_writer_open(b, 1000, &w, &err), BS_OK);
    assert_int_equal(bs_blob_write(w, buffer, 600, &err), BS_OK);
    bs_blob_abort(w);
    assert_int_equal(files_in(*state), 0);
    assert_int_equal(bs_blob_put(b, buffer, 1000, hash, &err), BS_OK);
    bs_blobs_close(b);
}

static void the_cap_counts_what_others_announced(void **state)
{
    struct bs_blobs *b = open_blobs(*state, 1000, 0);
    struct bs_err err;
    struct bs_blob_writer *w, *x;
    char hash[65], buffer[1000] = "";
    assert_int_equal(bs_blob_writer_open(b, 700, &w, &err), BS_OK);
    assert_int_equal(bs_blob_writer_open(b, 400, &x, &err), BS_ELIMIT);
    assert_non_null(strstr(err.msg, "1000"));
    assert_int_equal(bs_blob_writer_open(b, 0, &x, &err), BS_OK);
    assert_int_equal(bs_blob_write(x, buffer, 300, &err), BS_OK);
    assert_int_equal(bs_blob_write(x, buffer, 1, &err), BS_ELIMIT);
    bs_blob_abort(x);
    assert_int_equal(bs_blob_write(w, buffer, 700, &err), BS_OK);
    assert_int_equal(bs_blob_commit(w, hash, &err), BS_OK);
    assert_int_equal(bs_blob_put(b, buffer, 301, hash, &err), BS_ELIMIT);
    assert_int_equal(bs_blob_put(b, buffer, 300, hash, &err), BS_OK);
    assert_int_equal(bs_blob_writer_open(b, UINT64_MAX, &x, &err), BS_ELIMIT);
    bs_blobs_close(b);
}

static void the_free_space_reserve_is_kept(void **state)
{
    struct bs_blobs *b = open_blobs(*state, 0, UINT64_C(1) << 60);
    struct bs_err err;
    char hash[65];
    assert_int_equal(bs_blob_put(b, "abc", 3, hash, &err), BS_ELIMIT);
    assert_non_null(strstr(err.msg, "reserve"));
    assert_int_equal(files_in(*state), 0);
    bs_blobs_close(b);
}

static void a_full_disk_is_an_error_and_leaves_nothing(void **state)
{
    static char buffer[1 << 20];
    pid_t child = fork();
    if (child == 0) {
        /* A file-size limit fails writes in the middle as a full disk does. */
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){300000, 300000});
        struct bs_blobs *b;
        struct bs_err err;
        char hash[65];
        if (bs_blobs_open(*state, NULL, &b, &err) != BS_OK)
            _exit(2);
        if (bs_blob_put(b, buffer, sizeof buffer, hash, &err) != BS_EIO || !strstr(err.msg, "full"))
            _exit(3);
        if (bs_blobs_bytes(b) != 0 || bs_blob_put(b, buffer, 200000, hash, &err) != BS_OK)
            _exit(4);
        bs_blobs_close(b);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    assert_int_equal(files_in(*state), 1);
}

static bs_status nobody_uses(void *ctx, const char *hash, bool *used, struct bs_err *err)
{
    (void)err;
    *used = ctx && strcmp(ctx, hash) == 0;
    return BS_OK;
}

static void a_sweep_takes_what_nobody_names_but_not_what_is_young(void **state)
{
    struct bs_blobs *b = open_blobs(*state, 0, 0);
    struct bs_err err;
    char kept[65], orphan[65];
    int count;
    assert_int_equal(bs_blob_put(b, "kept", 4, kept, &err), BS_OK);
    assert_int_equal(bs_blob_put(b, "orphan", 6, orphan, &err), BS_OK);
    assert_int_equal(bs_blobs_sweep(b, 3600, nobody_uses, kept, &count, &err), BS_OK);
    assert_int_equal(count, 0);
    char path[512];
    struct timespec old[2] = {{1000000, 0}, {1000000, 0}};
    const char *both[] = {kept, orphan};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", (char *)*state, both[i]);
        assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    }
    /* Stored again: somebody is about to name it. */
    assert_int_equal(bs_blob_put(b, "orphan", 6, orphan, &err), BS_OK);
    assert_int_equal(bs_blobs_sweep(b, 3600, nobody_uses, kept, &count, &err), BS_OK);
    assert_int_equal(count, 0);
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    assert_int_equal(bs_blobs_sweep(b, 3600, nobody_uses, kept, &count, &err), BS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(bs_blobs_bytes(b), 4);
    bs_blobs_close(b);
}

struct writer {
    struct bs_blobs *blobs;
    unsigned seed;
    int failures;
};

static void *write_many(void *arg)
{
    struct writer *w = arg;
    struct bs_err err;
    char text[32], hash[65];
    for (int i = 0; i < 30; i++) {
        w->seed = w->seed * 1103515245u + 12345u;
        snprintf(text, sizeof text, "content %u", (w->seed >> 16) % 20);
        uint64_t size;
        int fd;
        if (bs_blob_put(w->blobs, text, strlen(text), hash, &err) != BS_OK)
            w->failures++;
        if (bs_blob_open(w->blobs, hash, &fd, &size, &err) == BS_OK)
            close(fd);
        else
            w->failures++;
    }
    return NULL;
}

static void many_threads_may_write_the_same_content(void **state)
{
    struct bs_blobs *b = open_blobs(*state, 0, 0);
    pthread_t thread[4];
    struct writer w[4];
    for (int i = 0; i < 4; i++) {
        w[i] = (struct writer){b, (unsigned)i + 1, 0};
        pthread_create(&thread[i], NULL, write_many, &w[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(w[i].failures, 0);
    }
    uint64_t bytes = bs_blobs_bytes(b);
    bs_blobs_close(b);
    b = open_blobs(*state, 0, 0);
    assert_int_equal(bs_blobs_bytes(b), bytes);
    bs_blobs_close(b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        T(a_blob_is_named_by_its_content_and_stored_once),
        T(names_from_outside_reach_no_other_file),
        T(leftovers_of_a_crash_go_at_the_next_start),
        T(an_aborted_blob_leaves_nothing),
        T(the_cap_counts_what_others_announced),
        T(the_free_space_reserve_is_kept),
        T(a_full_disk_is_an_error_and_leaves_nothing),
        T(a_sweep_takes_what_nobody_names_but_not_what_is_young),
        T(many_threads_may_write_the_same_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
