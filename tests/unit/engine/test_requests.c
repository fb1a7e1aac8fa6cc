/* What one request may expect of the engine: results, progress, a quick cancel, errors instead of crashes. */
#include "engine_support.h"

#include <fcntl.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/stat.h>

static void a_raw_image_gives_labels_and_objects(void **state)
{
    struct lab *lab = *state;
    struct task t;
    struct stat st;
    int image = image_file(256);
    struct bs_engine_request r = raw_request(lab, image, 256, 32);
    r.want_maps = true;
    submit(lab->engine, &t, &r);
    if (wait_end(&t) != BS_OK)
        fail_msg("%s", t.err.msg);
    assert_int_equal(t.started, 1);
    assert_int_equal(t.ended, 1);
    assert_true(t.progressed > 0 && t.total > 9);
    assert_int_equal(t.last_done, t.total);
    assert_int_equal(t.result.info.height, 256);
    assert_int_equal(t.result.info.width, 256);
    assert_int_equal(t.result.info.channels, 3);
    assert_int_equal(fstat(t.result.labels_fd, &st), 0);
    assert_int_equal(st.st_size, 256 * 256 * 4);
    assert_int_equal(fstat(t.result.maps_fd, &st), 0);
    assert_int_equal(st.st_size, 3 * 256 * 256 * 4);
    assert_int_equal(fstat(t.result.objects_fd, &st), 0);
    assert_int_equal(st.st_size, t.result.info.count * sizeof(struct bs_object));
    /* Nobody can change a result that was handed out. */
    assert_int_equal(ftruncate(t.result.labels_fd, 0), -1);
    uint32_t *labels = mmap(NULL, 256 * 256 * 4, PROT_READ, MAP_PRIVATE, t.result.labels_fd, 0);
    assert_true(labels != MAP_FAILED);
    for (int i = 0; i < 256 * 256; i++)
        assert_true(labels[i] <= t.result.info.count);
    munmap(labels, 256 * 256 * 4);
    forget(&t);
    close(image);
}

static void an_image_file_is_decoded_by_the_worker(void **state)
{
    struct lab *lab = *state;
    char path[300];
    uint32_t pixel[64 * 48];
    struct bs_err err;
    struct task t;
    for (int i = 0; i < 64 * 48; i++)
        pixel[i] = (uint32_t)(i * 37 % 1000);
    snprintf(path, sizeof path, "%s/image.png", lab->dir);
    assert_int_equal(bs_labels_write_png(path, pixel, 48, 64, &err), BS_OK);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    fstat(file, &st);
    struct bs_engine_request r = raw_request(lab, file, 0, 0);
    r.raw = false;
    r.image_bytes = (size_t)st.st_size;
    r.pixel_size = 0.5;
    submit(lab->engine, &t, &r);
    if (wait_end(&t) != BS_OK)
        fail_msg("%s", t.err.msg);
    assert_int_equal(t.result.info.height, 48);
    assert_int_equal(t.result.info.width, 64);
    assert_true(t.result.info.pixel_size == 0.5);
    forget(&t);
    close(file);
}

static void garbage_images_give_errors_and_the_worker_lives_on(void **state)
{
    struct lab *lab = *state;
    int pid = worker_pid(lab->engine);
    static const char *const garbage[] = {"", "x", "\x89PNG\r\n\x1a\n....", "II*\0\xff\xff\xff\xff",
                                          "MM\0*\0\0\0\x08"};
    static const size_t length[] = {0, 1, 12, 8, 8};
    for (int i = 0; i < 5; i++) {
        struct task t;
        int image = memory_file(garbage[i], length[i]);
        struct bs_engine_request r = raw_request(lab, image, 0, 0);
        r.raw = false;
        r.image_bytes = length[i];
        submit(lab->engine, &t, &r);
        assert_int_not_equal(wait_end(&t), BS_OK);
        assert_true(strlen(t.err.msg) > 0);
        forget(&t);
        close(image);
    }
    assert_int_equal(worker_pid(lab->engine), pid);
    expect_service(lab, 64);
}

static void raw_descriptions_that_lie_are_refused(void **state)
{
    struct lab *lab = *state;
    int pid = worker_pid(lab->engine), image = image_file(64);
    for (int i = 0; i < 6; i++) {
        struct task t;
        struct bs_engine_request r = raw_request(lab, image, 64, 0);
        if (i == 0)
            r.dim[0] = 65;
        else if (i == 1)
            r.image_bytes = SIZE_MAX;
        else if (i == 2)
            r.dim[0] = r.dim[1] = SIZE_MAX / 2;
        else if (i == 3)
            r.sample = (enum bs_sample)99;
        else if (i == 4)
            r.dim[1] = 0;
        else {
            /* The sizes agree with each other but not with the file. */
            r.dim[0] = 128;
            r.image_bytes = 128 * 64;
        }
        submit(lab->engine, &t, &r);
        assert_int_not_equal(wait_end(&t), BS_OK);
        forget(&t);
    }
    close(image);
    assert_int_equal(worker_pid(lab->engine), pid);
    expect_service(lab, 64);
}

static void cancel_frees_the_device_within_a_second(void **state)
{
    struct lab *lab = *state;
    struct task t;
    int image = image_file(LONG_SIDE);
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16);
    expect_service(lab, 32);
    submit(lab->engine, &t, &r);
    wait_progress(&t, 1);
    double asked = now_s();
    bs_engine_cancel(lab->engine, t.handle);
    assert_int_equal(wait_end(&t), BS_ECANCELLED);
    assert_true(t.end_time - asked < 1.0);
    expect_service(lab, 32);
    assert_true(now_s() - asked < (SANITIZED ? 10.0 : 2.0));
    forget(&t);
    close(image);
}

static void ends_are_counted_by_kind(void **state)
{
    struct lab *lab = *state;
    struct bs_engine_state before, after;
    struct task t;
    bs_engine_state_get(lab->engine, &before);
    assert_int_equal(before.succeeded + before.failed + before.cancelled + before.refused, 0);
    expect_service(lab, 32);
    int garbage = memory_file("no image", 8);
    struct bs_engine_request r = raw_request(lab, garbage, 32, 0);
    r.raw = false;
    r.image_bytes = 8;
    submit(lab->engine, &t, &r);
    assert_int_not_equal(wait_end(&t), BS_OK);
    forget(&t);
    close(garbage);
    int image = image_file(LONG_SIDE);
    r = raw_request(lab, image, LONG_SIDE, 16);
    submit(lab->engine, &t, &r);
    wait_progress(&t, 1);
    bs_engine_cancel(lab->engine, t.handle);
    assert_int_equal(wait_end(&t), BS_ECANCELLED);
    forget(&t);
    close(image);
    bs_engine_state_get(lab->engine, &after);
    assert_int_equal(after.succeeded, 1);
    assert_int_equal(after.failed, 1);
    assert_int_equal(after.cancelled, 1);
    assert_int_equal(after.refused, 0);
    assert_int_equal(after.nresident, 1);
}

static void a_waiting_task_can_be_cancelled_too(void **state)
{
    struct lab *lab = *state;
    struct task running, waiting;
    int image = image_file(LONG_SIDE);
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16);
    submit(lab->engine, &running, &r);
    wait_progress(&running, 1);
    submit(lab->engine, &waiting, &r);
    bs_engine_cancel(lab->engine, waiting.handle);
    assert_int_equal(wait_end(&waiting), BS_ECANCELLED);
    assert_int_equal(waiting.started, 0);
    bs_engine_cancel(lab->engine, running.handle);
    assert_int_equal(wait_end(&running), BS_ECANCELLED);
    forget(&running);
    forget(&waiting);
    close(image);
}

static void interactive_work_goes_before_batch_and_owners_take_turns(void **state)
{
    struct lab *lab = *state;
    struct task running, batch, ann[3], bob;
    int large = image_file(512), small = image_file(32);
    struct bs_engine_request r = raw_request(lab, large, 512, 32), s = raw_request(lab, small, 32, 0);
    r.interactive = false;
    submit(lab->engine, &running, &r);
    wait_progress(&running, 1);
    s.interactive = false;
    submit(lab->engine, &batch, &s);
    s.interactive = true;
    s.owner = "ann";
    for (int i = 0; i < 3; i++)
        submit(lab->engine, &ann[i], &s);
    s.owner = "bob";
    submit(lab->engine, &bob, &s);
    struct task *all[] = {&running, &ann[0], &bob, &ann[1], &ann[2], &batch};
    for (int i = 0; i < 6; i++)
        assert_int_equal(wait_end(all[i]), BS_OK);
    for (int i = 1; i < 6; i++)
        assert_true(all[i - 1]->end_time < all[i]->end_time);
    for (int i = 0; i < 6; i++)
        forget(all[i]);
    close(large);
    close(small);
}

static void destroying_the_engine_ends_every_task_once_and_soon(void **state)
{
    struct lab *lab = *state;
    struct task t[4];
    int image = image_file(LONG_SIDE);
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16);
    for (int i = 0; i < 4; i++)
        submit(lab->engine, &t[i], &r);
    wait_progress(&t[0], 1);
    double asked = now_s();
    bs_engine_destroy(lab->engine);
    lab->engine = NULL;
    assert_true(now_s() - asked < 6.0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(t[i].ended, 1);
        assert_int_equal(t[i].status, BS_ECANCELLED);
        forget(&t[i]);
    }
    close(image);
}

/* The first map of a result, as the preview shows it. */
static void expect_preview(const struct task *t, int preview, size_t side, size_t preview_side)
{
    const size_t factor = (side + preview_side - 1) / preview_side, n = (side + factor - 1) / factor;
    const uint8_t *shown = mmap(NULL, preview_side * preview_side, PROT_READ, MAP_SHARED, preview, 0);
    const float *map = mmap(NULL, 3 * side * side * 4, PROT_READ, MAP_PRIVATE, t->result.maps_fd, 0);
    assert_true(shown != MAP_FAILED && map != MAP_FAILED);
    assert_int_equal(t->preview.height, n);
    assert_int_equal(t->preview.width, n);
    assert_true(t->preview.top == 0 && t->preview.left == 0);
    assert_true(t->preview.bottom == n && t->preview.right == n);
    assert_true(t->preview.pixel_height == (double)factor && t->preview.pixel_width == (double)factor);
    int bright = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            size_t y = i * factor + factor / 2, x = k * factor + factor / 2;
            float v = map[(y < side ? y : side - 1) * side + (x < side ? x : side - 1)];
            assert_true(fabs((double)shown[i * n + k] - 255.0 * v) <= 0.51);
            bright += shown[i * n + k] > 0;
        }
    assert_true(bright > 0);
    munmap((void *)(uintptr_t)shown, preview_side * preview_side);
    munmap((void *)(uintptr_t)map, 3 * side * side * 4);
}

static void a_preview_shows_the_foreground_map_reduced(void **state)
{
    struct lab *lab = *state;
    int image = image_file(250);
    static const uint32_t sides[] = {64, 300, 16};
    for (int i = 0; i < 6; i++) { /* in tiles, and the whole image at once */
        struct task t;
        struct bs_engine_request r = raw_request(lab, image, 250, i < 3 ? 32 : 0);
        int preview = memfd_create("preview", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        r.preview_side = sides[i % 3];
        assert_int_equal(ftruncate(preview, (off_t)r.preview_side * r.preview_side), 0);
        r.preview_fd = preview;
        r.want_maps = true;
        submit(lab->engine, &t, &r);
        if (wait_end(&t) != BS_OK)
            fail_msg("%s", t.err.msg);
        assert_true(t.previews >= 1 && t.previews <= t.progressed);
        expect_preview(&t, preview, 250, r.preview_side);
        forget(&t);
        close(preview);
    }
    close(image);
}

static void a_preview_into_a_file_of_another_size_is_refused(void **state)
{
    struct lab *lab = *state;
    struct task t;
    int image = image_file(64), preview = memory_file("abc", 3);
    struct bs_engine_request r = raw_request(lab, image, 64, 0);
    r.preview_side = 64;
    r.preview_fd = preview;
    submit(lab->engine, &t, &r);
    assert_int_equal(wait_end(&t), BS_EINVAL);
    forget(&t);
    expect_service(lab, 64);
    close(preview);
    close(image);
}

static void planned_memory_is_known_before_the_work(void **state)
{
    struct lab *lab = *state;
    struct bs_segment_params p = bs_segment_params_default(&lab->info);
    struct bs_err err = {.msg = ""};
    size_t small = 0, large = 0;
    assert_int_equal(bs_engine_plan(lab->engine, "tiny", lab->model_fd, 64, 64, &p, &small, &err), BS_OK);
    assert_int_equal(bs_engine_plan(lab->engine, "tiny", lab->model_fd, 512, 512, &p, &large, &err), BS_OK);
    assert_true(small > 0 && large > small);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, lab_open, lab_close)
    const struct CMUnitTest tests[] = {
        T(a_raw_image_gives_labels_and_objects),
        T(an_image_file_is_decoded_by_the_worker),
        T(garbage_images_give_errors_and_the_worker_lives_on),
        T(raw_descriptions_that_lie_are_refused),
        T(cancel_frees_the_device_within_a_second),
        T(ends_are_counted_by_kind),
        T(a_waiting_task_can_be_cancelled_too),
        T(interactive_work_goes_before_batch_and_owners_take_turns),
        T(destroying_the_engine_ends_every_task_once_and_soon),
        T(a_preview_shows_the_foreground_map_reduced),
        T(a_preview_into_a_file_of_another_size_is_refused),
        T(planned_memory_is_known_before_the_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
