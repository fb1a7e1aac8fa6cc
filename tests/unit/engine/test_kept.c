/* Maps that are kept: whose they are, what goes when, and that nothing is left behind. */
#include "server/kept.h"
#include "tests/unit/engine/engine_support.h"

#include <dirent.h>
#include <sys/mman.h>

static _Atomic int64_t the_time;

static int64_t fake_now(void)
{
    return the_time;
}

static struct bs_kept *open_kept(struct lab *lab, uint64_t max_bytes, int max_entries)
{
    static char path[300];
    struct bs_kept *k = NULL;
    struct bs_err err = {.msg = ""};
    snprintf(path, sizeof path, "%s/kept", lab->dir);
    the_time = 1000000;
    const struct bs_kept_options opt = {.dir = path,
                                        .max_bytes = max_bytes,
                                        .lifetime_ms = 60000,
                                        .max_entries = max_entries,
                                        .now_ms = fake_now};
    if (bs_kept_create(&opt, &k, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return k;
}

static struct bs_kept_entry entry(struct bs_kept *k, const char *owner, int number, size_t map_bytes)
{
    struct bs_kept_entry e = {.map_bytes = map_bytes, .image_bytes = 100};
    struct bs_err err = {.msg = ""};
    uint64_t room;
    char pixels[100];
    memset(pixels, number, sizeof pixels);
    snprintf(e.owner, sizeof e.owner, "%s", owner);
    snprintf(e.model_blob, sizeof e.model_blob, "model");
    snprintf(e.input_hash, sizeof e.input_hash, "image %d", number);
    e.request = (struct bs_job_request){.raw = true, .ndim = 2, .axes = "yx", .dim = {10, 10}};
    e.image_fd = memory_file(pixels, sizeof pixels);
    assert_int_equal(bs_kept_file(k, &e.maps_fd, &room, &err), BS_OK);
    assert_int_equal(ftruncate(e.maps_fd, (off_t)map_bytes), 0);
    return e;
}

/* The id of one that is kept. */
static const char *keep(struct bs_kept *k, const char *owner, int number, size_t map_bytes)
{
    static char ids[16][BS_KEPT_ID_LEN + 1];
    static int next;
    struct bs_err err = {.msg = ""};
    struct bs_kept_entry e = entry(k, owner, number, map_bytes);
    if (bs_kept_put(k, &e, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(e.maps_fd, -1);
    close(e.image_fd);
    char *id = ids[next++ % 16];
    memcpy(id, e.id, sizeof e.id);
    assert_int_equal(strlen(id), BS_KEPT_ID_LEN);
    return id;
}

static bool has(struct bs_kept *k, const char *owner, const char *id)
{
    struct bs_kept_entry e;
    struct bs_err err;
    if (bs_kept_get(k, owner, id, &e, &err) != BS_OK)
        return false;
    bs_kept_entry_close(&e);
    return true;
}

static void an_entry_is_its_owners_and_holds_its_image(void **state)
{
    struct bs_kept *k = open_kept(*state, 1 << 20, 8);
    const char *id = keep(k, "ada", 7, 5000);
    struct bs_kept_entry e;
    struct bs_err err;
    char pixels[100] = "";
    assert_int_equal(bs_kept_get(k, "ada", id, &e, &err), BS_OK);
    assert_int_equal(pread(e.image_fd, pixels, 100, 0), 100);
    assert_true(pixels[0] == 7 && pixels[99] == 7);
    assert_int_equal(e.map_bytes, 5000);
    assert_int_equal(e.expires_ms, the_time + 60000);
    bs_kept_entry_close(&e);
    assert_int_equal(bs_kept_get(k, "eve", id, &e, &err), BS_ENOTFOUND);
    assert_non_null(strstr(err.msg, "Send the image again"));
    assert_non_null(strstr(err.msg, "1 minutes"));
    bs_kept_destroy(k);
}

static void the_same_work_is_found_and_other_work_is_not(void **state)
{
    struct bs_kept *k = open_kept(*state, 1 << 20, 8);
    struct bs_kept_entry e = entry(k, "ada", 1, 100), found;
    struct bs_job_request q = e.request;
    struct bs_err err;
    assert_int_equal(bs_kept_put(k, &e, &err), BS_OK);
    q.params.instances.foreground_threshold = 0.9; /* the network does not see it */
    q.params.min_size_um2 = 3;
    assert_int_equal(bs_kept_find(k, "ada", "model", "image 1", &q, &found, &err), BS_OK);
    assert_string_equal(found.id, e.id);
    bs_kept_entry_close(&found);
    assert_int_equal(bs_kept_find(k, "eve", "model", "image 1", &q, &found, &err), BS_ENOTFOUND);
    assert_int_equal(bs_kept_find(k, "ada", "other", "image 1", &q, &found, &err), BS_ENOTFOUND);
    assert_int_equal(bs_kept_find(k, "ada", "model", "image 2", &q, &found, &err), BS_ENOTFOUND);
    struct bs_job_request others[5];
    for (int i = 0; i < 5; i++)
        others[i] = q;
    others[0].params.scale = 2;
    others[1].params.tile = 64;
    others[2].params.has_no_data = true;
    others[3].dim[0] = 5, others[3].dim[1] = 20; /* the same bytes, read otherwise */
    others[4].pixel_size = 0.5;
    for (int i = 0; i < 5; i++)
        assert_int_equal(bs_kept_find(k, "ada", "model", "image 1", &others[i], &found, &err), BS_ENOTFOUND);
    close(e.image_fd);
    bs_kept_destroy(k);
}

static void the_least_recently_used_goes_when_bytes_run_out(void **state)
{
    struct bs_kept *k = open_kept(*state, 10000, 8);
    struct bs_kept_state s;
    const char *a = keep(k, "ada", 1, 3000), *b = keep(k, "ada", 2, 3000), *c = keep(k, "ada", 3, 3000);
    assert_true(has(k, "ada", a)); /* now b is the oldest */
    const char *d = keep(k, "ada", 4, 3000);
    assert_true(has(k, "ada", a) && !has(k, "ada", b) && has(k, "ada", c) && has(k, "ada", d));
    bs_kept_state_get(k, &s);
    assert_true(s.bytes == 9300 && s.entries == 3 && s.evicted == 1);
    const char *large = keep(k, "ada", 5, 9000);
    bs_kept_state_get(k, &s);
    assert_true(has(k, "ada", large) && s.entries == 1 && s.bytes == 9100);
    struct bs_kept_entry e = entry(k, "ada", 6, 10000);
    struct bs_err err;
    assert_int_equal(bs_kept_put(k, &e, &err), BS_ELIMIT);
    assert_true(has(k, "ada", large)); /* what does not fit drives nothing out */
    close(e.image_fd);
    bs_kept_destroy(k);
}

static void their_number_is_bounded_too(void **state)
{
    struct bs_kept *k = open_kept(*state, 1 << 20, 3);
    struct bs_kept_state s;
    const char *first = keep(k, "ada", 0, 10);
    for (int i = 1; i < 10; i++)
        keep(k, "ada", i, 10);
    bs_kept_state_get(k, &s);
    assert_true(s.entries == 3 && s.evicted == 7 && !has(k, "ada", first));
    bs_kept_destroy(k);
}

static void an_entry_goes_some_time_after_its_last_use(void **state)
{
    struct bs_kept *k = open_kept(*state, 1 << 20, 8);
    struct bs_kept_state s;
    const char *id = keep(k, "ada", 1, 1000);
    the_time += 50000;
    assert_true(has(k, "ada", id));
    the_time += 50000;
    assert_true(has(k, "ada", id)); /* the use before has given it another minute */
    the_time += 60000;
    assert_false(has(k, "ada", id));
    bs_kept_state_get(k, &s);
    assert_true(s.entries == 0 && s.bytes == 0);
    bs_kept_destroy(k);
}

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void what_has_expired_gives_its_disk_back_unasked(void **state)
{
    struct bs_kept *k = open_kept(*state, 1 << 20, 8);
    int before = open_descriptors();
    keep(k, "ada", 1, 1000);
    assert_int_equal(open_descriptors(), before + 2);
    the_time += 60000;
    for (int i = 0; i < 100 && open_descriptors() > before; i++)
        sleep_ms(100);
    assert_int_equal(open_descriptors(), before);
    bs_kept_destroy(k);
}

static void nothing_is_kept_where_nothing_may_be(void **state)
{
    struct bs_kept *k = open_kept(*state, 0, 8);
    struct bs_err err;
    uint64_t room;
    int fd;
    assert_int_equal(bs_kept_file(k, &fd, &room, &err), BS_ELIMIT);
    assert_false(has(k, "ada", "0123"));
    bs_kept_destroy(k);
}

static void maps_of_another_size_than_announced_are_not_kept(void **state)
{
    struct bs_kept *k = open_kept(*state, 1 << 20, 8);
    struct bs_kept_entry e = entry(k, "ada", 1, 500);
    struct bs_err err;
    e.map_bytes = 400;
    assert_int_equal(bs_kept_put(k, &e, &err), BS_ECORRUPT);
    close(e.image_fd);
    bs_kept_destroy(k);
}

/* Through the worker: labels from kept maps are those of a run. */
static void kept_maps_give_the_labels_of_a_run(void **state)
{
    struct lab *lab = *state;
    const size_t side = 200;
    int image = image_file(side);
    for (int tiled = 0; tiled < 2; tiled++)
        for (int scaled = 0; scaled < 2; scaled++) {
            struct task first, again, fresh;
            struct bs_segment_maps maps = {.fd = memfd_create("maps", MFD_CLOEXEC), .max_bytes = 1 << 24};
            struct bs_engine_request r = raw_request(lab, image, side, tiled ? 32 : 0);
            r.params.scale = scaled ? 0.75 : 1;
            r.kept = &maps;
            submit(lab->engine, &first, &r);
            if (wait_end(&first) != BS_OK)
                fail_msg("%s", first.err.msg);
            assert_true(!first.result.info.kept_maps && first.result.network.map_h == (scaled ? 150 : 200));
            maps.made = true;
            maps.network = first.result.network;
            r.params.instances.foreground_threshold = 0.45;
            r.params.instances.min_size = 3;
            submit(lab->engine, &again, &r);
            if (wait_end(&again) != BS_OK)
                fail_msg("%s", again.err.msg);
            r.kept = NULL;
            submit(lab->engine, &fresh, &r);
            assert_int_equal(wait_end(&fresh), BS_OK);
            const struct bs_segment_result *a = &again.result.info, *f = &fresh.result.info;
            assert_true(a->kept_maps && !f->kept_maps && a->seconds_network == 0);
            assert_true(a->count == f->count && a->count > 0 && a->plan_hash == f->plan_hash);
            assert_true(a->tiled == f->tiled && a->tile == f->tile && a->nwarning == f->nwarning);
            for (int i = 0; i < a->nwarning; i++)
                assert_string_equal(a->warning[i].text, f->warning[i].text);
            assert_int_equal(again.progressed, 0);
            char *one = mmap(NULL, side * side * 4, PROT_READ, MAP_PRIVATE, again.result.labels_fd, 0);
            char *two = mmap(NULL, side * side * 4, PROT_READ, MAP_PRIVATE, fresh.result.labels_fd, 0);
            assert_memory_equal(one, two, side * side * 4);
            munmap(one, side * side * 4);
            munmap(two, side * side * 4);
            forget(&first);
            forget(&again);
            forget(&fresh);
            close(maps.fd);
        }
    close(image);
}

static void maps_that_do_not_fit_are_refused_and_too_large_ones_not_written(void **state)
{
    struct lab *lab = *state;
    int small = image_file(64), large = image_file(96);
    struct task t;
    struct bs_segment_maps maps = {.fd = memfd_create("maps", MFD_CLOEXEC), .max_bytes = 100};
    struct bs_engine_request r = raw_request(lab, small, 64, 0);
    r.kept = &maps;
    submit(lab->engine, &t, &r);
    assert_int_equal(wait_end(&t), BS_OK);
    assert_int_equal(t.result.network.map_h, 0);
    bool said = false;
    for (int i = 0; i < t.result.info.nwarning; i++)
        said = said || strcmp(t.result.info.warning[i].code, "maps_not_kept") == 0;
    assert_true(said);
    forget(&t);
    maps.max_bytes = 1 << 20;
    submit(lab->engine, &t, &r);
    assert_int_equal(wait_end(&t), BS_OK);
    maps.made = true;
    maps.network = t.result.network;
    forget(&t);
    struct bs_engine_request other = raw_request(lab, large, 96, 0);
    other.kept = &maps;
    submit(lab->engine, &t, &other);
    assert_int_equal(wait_end(&t), BS_ECORRUPT);
    forget(&t);
    assert_int_equal(ftruncate(maps.fd, 1000), 0); /* right in words, but cut short */
    submit(lab->engine, &t, &r);
    assert_int_equal(wait_end(&t), BS_EIO);
    forget(&t);
    expect_service(lab, 64);
    close(maps.fd);
    close(small);
    close(large);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, lab_open, lab_close)
    const struct CMUnitTest tests[] = {
        T(an_entry_is_its_owners_and_holds_its_image),
        T(the_same_work_is_found_and_other_work_is_not),
        T(the_least_recently_used_goes_when_bytes_run_out),
        T(their_number_is_bounded_too),
        T(an_entry_goes_some_time_after_its_last_use),
        T(what_has_expired_gives_its_disk_back_unasked),
        T(nothing_is_kept_where_nothing_may_be),
        T(maps_of_another_size_than_announced_are_not_kept),
        T(kept_maps_give_the_labels_of_a_run),
        T(maps_that_do_not_fit_are_refused_and_too_large_ones_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
