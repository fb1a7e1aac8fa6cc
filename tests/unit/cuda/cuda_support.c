/* See cuda_support.h. */
#include "tests/unit/cuda/cuda_support.h"

#include "kernels/cuda/driver.h"
#include "tests/emulation/halves.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALLOCATIONS = 1024 };

struct cuda_test {
    struct bs__driver driver;
    bs__cu_device device;
    bool retained;
    char *image; /* owned; what the queue was made of */
    struct bs__queue *queue;
    bs_address allocations[ALLOCATIONS];
    size_t count;
    /* The emulation's own functions (tests/emulation/control.h); NULL on a GPU. */
    int (*finding_count)(void);
    const char *(*finding_kind)(int i);
    const char *(*finding_text)(int i);
    void (*forget)(void);
    void (*seed)(uint64_t seed);
    char finding[1024]; /* what cuda_take_finding returned last */
};

void cuda_fail(const char *file, int line, const char *text)
{
    print_error("%s\n", text);
    if (getenv("BS_EMULATION_STOP")) /* tests/emulation/mutate.py needs no more */
        _exit(1);
    _fail(file, line);
    abort(); /* not reached */
}

#define MUST(t, call)                                                                                        \
    do {                                                                                                     \
        struct bs_err must_err = {0};                                                                        \
        if (bs__driver_check(&(t)->driver, (call), &must_err, "%s", #call) != BS_OK)                         \
            cuda_fail(__FILE__, __LINE__, must_err.msg);                                                     \
    } while (0)

/* The image of kernels: on a GPU the file that BS_CUDA_IMAGE names. */
static char *read_image(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    char *bytes = NULL;
    long size = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    if (size > 0 && fseek(f, 0, SEEK_SET) == 0 && (bytes = malloc((size_t)size)) &&
        fread(bytes, 1, (size_t)size, f) != (size_t)size) {
        free(bytes);
        bytes = NULL;
    }
    fclose(f);
    return bytes;
}

static void find_emulation(struct cuda_test *t)
{
    const struct {
        const char *name;
        void *to;
    } wanted[] = {{"bs_emulation_finding_count", &t->finding_count},
                  {"bs_emulation_finding_kind", &t->finding_kind},
                  {"bs_emulation_finding_text", &t->finding_text},
                  {"bs_emulation_forget", &t->forget},
                  {"bs_emulation_seed", &t->seed}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *found = dlsym(t->driver.library, wanted[i].name);
        memcpy(wanted[i].to, &found, sizeof found);
    }
}

static struct cuda_test *close_test(struct cuda_test *t)
{
    bs__queue_destroy(t->queue);
    if (t->retained)
        (void)t->driver.context_release(t->device);
    bs__driver_close(&t->driver);
    free(t->image);
    free(t);
    return NULL;
}

int cuda_test_open(void **state)
{
    struct bs_err err = {0};
    struct cuda_test *t = calloc(1, sizeof *t);
    if (!t)
        return -1;
    bs__cu_context context = NULL;
    const char *image = getenv("BS_CUDA_IMAGE");
    bs_status rc = bs__driver_open(NULL, &t->driver, &err);
    if (rc == BS_OK) {
        find_emulation(t);
        if (!t->finding_count && !image) {
            print_message("skipped: BS_CUDA_IMAGE does not say which image of kernels the GPU should run\n");
            close_test(t);
            exit(77);
        }
        t->image = t->finding_count ? strdup("emulation") : read_image(image);
        if (!t->image)
            rc = BS_FAIL(&err, BS_EIO, "cannot read %s", image ? image : "the image");
    } else if (!getenv("BS_CUDA_EXPECTED")) {
        print_message("skipped: %s\n", err.msg);
        close_test(t);
        exit(77);
    }
    if (rc == BS_OK)
        rc = bs__driver_check(&t->driver, t->driver.device_get(&t->device, 0), &err, "cannot find a GPU");
    if (rc == BS_OK)
        rc = bs__driver_check(&t->driver, t->driver.context_retain(&context, t->device), &err,
                              "cannot use the GPU");
    t->retained = rc == BS_OK;
    if (rc == BS_OK)
        rc = bs__driver_check(&t->driver, t->driver.context_set(context), &err, "cannot use the GPU");
    if (rc == BS_OK)
        rc = bs__queue_create(&t->driver, t->device, t->image, &t->queue, &err);
    if (rc != BS_OK) {
        print_error("%s\n", err.msg);
        close_test(t);
        return -1;
    }
    *state = t;
    return 0;
}

/* Prints what the emulation found; how much that was. */
static int tell_findings(struct cuda_test *t)
{
    int n = t->finding_count ? t->finding_count() : 0;
    for (int i = 0; i < n; i++)
        print_error("%s: %s\n", t->finding_kind(i), t->finding_text(i));
    if (n)
        t->forget();
    return n;
}

int cuda_test_close(void **state)
{
    struct cuda_test *t = *state;
    int failed = tell_findings(t);
    bs__queue_destroy(t->queue);
    t->queue = NULL;
    (void)t->driver.context_release(t->device);
    t->retained = false;
    failed += tell_findings(t); /* leaks */
    close_test(t);
    *state = NULL;
    return failed ? -1 : 0;
}

int cuda_test_end(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err err = {0};
    int failed = 0;
    if (bs__queue_wait(t->queue, &err) != BS_OK) {
        print_error("%s\n", err.msg);
        failed = 1;
    }
    failed += tell_findings(t);
    for (size_t i = 0; i < t->count; i++)
        if (t->driver.memory_free(t->allocations[i]) != BS__CU_SUCCESS)
            failed = 1;
    t->count = 0;
    return failed ? -1 : 0;
}

struct bs__queue *cuda_queue(struct cuda_test *t)
{
    return t->queue;
}

bool cuda_is_emulated(const struct cuda_test *t)
{
    return t->finding_count != NULL;
}

const struct bs__driver *cuda_driver(const struct cuda_test *t)
{
    return &t->driver;
}

const char *cuda_take_finding(struct cuda_test *t)
{
    t->finding[0] = '\0';
    if (t->finding_count && t->finding_count() > 0) {
        snprintf(t->finding, sizeof t->finding, "%s: %s", t->finding_kind(0), t->finding_text(0));
        t->forget();
    }
    return t->finding;
}

void cuda_seed(struct cuda_test *t, uint64_t seed)
{
    if (t->seed)
        t->seed(seed);
}

bs_address cuda_room(struct cuda_test *t, size_t bytes)
{
    bs__cu_address at = 0;
    assert_true(t->count < ALLOCATIONS);
    MUST(t, t->driver.memory_alloc(&at, bytes ? bytes : 1));
    return t->allocations[t->count++] = at;
}

/* The copy is queued, and its source (pageable memory) was read when it returns. */
static bs_address put_bytes(struct cuda_test *t, const void *bytes, size_t count)
{
    bs_address at = cuda_room(t, count);
    if (count)
        MUST(t, t->driver.copy_in(at, bytes, count, bs__queue_stream(t->queue)));
    return at;
}

static uint16_t to_half(enum bs__element e, float v)
{
    return e == BS__F16 ? bs_float_to_half(v) : bs_float_to_bfloat(v);
}

static float from_half(enum bs__element e, uint16_t v)
{
    return e == BS__F16 ? bs_half_to_float(v) : bs_bfloat_to_float(v);
}

bs_address cuda_put(struct cuda_test *t, enum bs__element e, const float *values, size_t count)
{
    if (e == BS__F32)
        return put_bytes(t, values, count * sizeof *values);
    uint16_t *halves = test_calloc(count + 1, sizeof *halves);
    for (size_t i = 0; i < count; i++)
        halves[i] = to_half(e, values[i]);
    bs_address at = put_bytes(t, halves, count * sizeof *halves);
    test_free(halves);
    return at;
}

bs_address cuda_put_ints(struct cuda_test *t, const int32_t *values, size_t count)
{
    return put_bytes(t, values, count * sizeof *values);
}

void cuda_get(struct cuda_test *t, enum bs__element e, bs_address from, float *values, size_t count)
{
    struct bs_err err = {0};
    size_t bytes = count * bs__element_bytes(e);
    void *raw = test_calloc(bytes + 1, 1);
    if (count)
        MUST(t, t->driver.copy_out(raw, from, bytes, bs__queue_stream(t->queue)));
    bs_status rc = bs__queue_wait(t->queue, &err);
    if (rc != BS_OK) {
        test_free(raw);
        tell_findings(t);
        cuda_fail(__FILE__, __LINE__, err.msg);
    }
    for (size_t i = 0; i < count; i++)
        if (e == BS__F32)
            values[i] = ((const float *)raw)[i];
        else
            values[i] = from_half(e, ((const uint16_t *)raw)[i]);
    test_free(raw);
}

void cuda_fill(float *values, size_t count, uint64_t seed, float lo, float hi)
{
    uint64_t s = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < count; i++) {
        s += 0x9e3779b97f4a7c15u; /* splitmix64 */
        uint64_t z = (s ^ s >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        float unit = (float)((z ^ z >> 31) >> 40) * 0x1p-24f;
        values[i] = lo + (hi - lo) * unit;
    }
}

void cuda_round(enum bs__element e, float *values, size_t count)
{
    for (size_t i = 0; i < count && e != BS__F32; i++)
        values[i] = from_half(e, to_half(e, values[i]));
}

void cuda_near(const float *got, const float *want, size_t count, double absolute, double relative)
{
    size_t worst = 0, wrong = 0;
    double excess = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)want[i]);
        double allowed = absolute + relative * fabs((double)want[i]);
        if (got[i] == want[i] || difference <= allowed)
            continue; /* equal infinities differ by NaN; a NaN is never within what is allowed */
        wrong++;
        double by = isnan(difference) ? INFINITY : difference - allowed;
        if (wrong == 1 || by > excess) {
            excess = by;
            worst = i;
        }
    }
    if (!wrong)
        return;
    char text[256];
    snprintf(text, sizeof text,
             "%zu of %zu values are off; worst at %zu: %.9g, wanted %.9g (allowed %g + %g of it)", wrong,
             count, worst, (double)got[worst], (double)want[worst], absolute, relative);
    cuda_fail(__FILE__, __LINE__, text);
}
