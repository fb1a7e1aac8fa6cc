/* golden_check [--device SPEC [--precision P] [--forward]] [--area NAME] DIR: checks bioseg against a folder of reference values laid
   out like golden/ (see its README). One line per fixture, then how many passed, failed and were skipped. Exit status: 0 all
   well, 1 something failed or nothing was found, 2 wrong usage.
   Networks are computed on `ref` and on the CPU with and without Winograd; --device names one device instead ("cuda:0"), whose
   tolerances are those of the precision. --forward leaves gradients out. --area checks one folder only. */
#include "tests/golden/golden.h"
#include "tests/golden/network.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The areas, in the order in which they are checked. Without checks, the reason why not. */
static const struct area {
    const char *folder;
    golden_check_fn *check;
    const char *reason;
} areas[] = {
    {"formula_check", check_formula, NULL},
    {"primitives", check_primitives, NULL},
    {"labels", check_labels, NULL},
    {"small", check_small, NULL},
    {"full", check_full, NULL},
    {"predict", check_predict, NULL},
    {"checkpoints", check_checkpoints, NULL},
    {"scan", check_scan, NULL},
    {"losses", check_losses, NULL},
};
#define AREAS (sizeof areas / sizeof *areas)

/* A file that a check has asked for. */
struct looked_at {
    struct looked_at *next;
    char *path; /* below dir */
};

/* One run. */
struct golden {
    const char *dir;
    const char *area;      /* the only one, or NULL */
    struct golden_way way; /* the one asked for */
    bool one_way;
    struct looked_at *files;
    unsigned passed, failed, skipped;
};

/* ---- reporting ---- */

static void line(const char *verdict, const char *name, const char *tolerance, const char *format, va_list ap)
{
    printf("%s %s ", verdict, name);
    vprintf(format, ap);
    if (tolerance)
        printf(" (%s)", tolerance);
    putchar('\n');
    fflush(stdout);
}

void golden_pass(struct golden *g, const char *name, const char *tolerance, const char *figure, ...)
{
    va_list ap;
    va_start(ap, figure);
    line("PASS", name, tolerance, figure, ap);
    va_end(ap);
    g->passed++;
}

void golden_fail(struct golden *g, const char *name, const char *tolerance, const char *figure, ...)
{
    va_list ap;
    va_start(ap, figure);
    line("FAIL", name, tolerance, figure, ap);
    va_end(ap);
    g->failed++;
}

void golden_skip(struct golden *g, const char *name, const char *reason, ...)
{
    va_list ap;
    va_start(ap, reason);
    line("SKIP", name, NULL, reason, ap);
    va_end(ap);
    g->skipped++;
}

void golden_verdict(struct golden *g, const char *name, bool ok, const char *tolerance, const char *figure,
                    ...)
{
    va_list ap;
    va_start(ap, figure);
    line(ok ? "PASS" : "FAIL", name, tolerance, figure, ap);
    va_end(ap);
    if (ok)
        g->passed++;
    else
        g->failed++;
}

void golden_error(struct golden *g, const char *name, const struct bs_err *err)
{
    golden_fail(g, name, bs_status_name(err->code), "%s", err->msg);
}

/* ---- files ---- */

static char *joined(const char *a, const char *b)
{
    char *path = NULL;
    BS_ASSERT(asprintf(&path, "%s/%s", a, b) >= 0);
    return path;
}

const char *golden_path(struct golden *g, const char *folder, const char *file)
{
    char *below = joined(folder, file), *path = joined(g->dir, below);
    struct looked_at *l = calloc(1, sizeof *l);
    BS_ASSERT(l);
    free(below);
    l->path = path;
    l->next = g->files;
    g->files = l;
    return path;
}

bool golden_has(struct golden *g, const char *folder, const char *file)
{
    char *below = joined(folder, file), *path = joined(g->dir, below);
    struct stat st;
    bool there = stat(path, &st) == 0;
    free(below);
    free(path);
    return there;
}

bs_status golden_npy(struct golden *g, const char *folder, const char *file, struct bs_npy *out,
                     struct bs_err *err)
{
    return bs_npy_read(golden_path(g, folder, file), out, err);
}

static bool was_looked_at(const struct golden *g, const char *path)
{
    for (const struct looked_at *l = g->files; l; l = l->next)
        if (strcmp(l->path, path) == 0)
            return true;
    return false;
}

void golden_skip_unread(struct golden *g, const char *folder, const char *ending)
{
    char *path = joined(g->dir, folder);
    struct dirent **entry = NULL;
    int n = scandir(path, &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *file = entry[i]->d_name;
        size_t length = strlen(file), tail = strlen(ending);
        char *whole = joined(path, file), *name = joined(folder, file);
        if (length > tail && strcmp(file + length - tail, ending) == 0 && !was_looked_at(g, whole))
            golden_skip(g, name, "no check knows this file");
        free(whole);
        free(name);
        free(entry[i]);
    }
    free(entry);
    free(path);
}

/* ---- the run ---- */

const struct golden_way *golden_way(const struct golden *g, size_t i)
{
    if (g->one_way)
        return i == 0 ? &g->way : NULL;
    return i < GOLDEN_DEFAULT_WAYS ? &golden_default_ways[i] : NULL;
}

static void check_area(struct golden *g, const struct area *area)
{
    if (area->check)
        area->check(g, area->folder);
    else
        golden_skip(g, area->folder, "%s", area->reason);
}

static void skip_unknown_folders(struct golden *g)
{
    struct dirent **entry = NULL;
    int n = scandir(g->dir, &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        char *path = joined(g->dir, name);
        struct stat st;
        bool known = name[0] == '.' || stat(path, &st) != 0 || !S_ISDIR(st.st_mode);
        for (size_t a = 0; a < AREAS; a++)
            known = known || strcmp(areas[a].folder, name) == 0;
        if (!known)
            golden_skip(g, name, "no check knows this folder");
        free(path);
        free(entry[i]);
    }
    free(entry);
}

/* False: wrong usage. */
static bool parse(int argc, char **argv, struct golden *g)
{
    const char *device = NULL, *precision = NULL;
    bool known_area = false, forward = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (argv[i][0] != '-' && !g->dir)
            g->dir = argv[i];
        else if (!strcmp(argv[i], "--forward"))
            forward = true;
        else if (value && !strcmp(argv[i], "--device"))
            device = value, i++;
        else if (value && !strcmp(argv[i], "--precision"))
            precision = value, i++;
        else if (value && !strcmp(argv[i], "--area"))
            g->area = value, i++;
        else
            return false;
    }
    for (size_t a = 0; a < AREAS; a++)
        known_area = known_area || (g->area && !strcmp(areas[a].folder, g->area));
    g->one_way = device != NULL;
    if (device && !golden_way_parse(device, precision ? precision : "f32", &g->way))
        return false;
    g->way.asked = true;
    g->way.forward = forward;
    return g->dir && (device || (!precision && !forward)) && (known_area || !g->area);
}

int main(int argc, char **argv)
{
    struct golden g = {0};
    struct stat st;

    if (!parse(argc, argv, &g)) {
        fprintf(stderr, "usage: golden_check [--device SPEC [--precision f32|tf32|bf16|f16] [--forward]] "
                        "[--area FOLDER] DIR\n"
                        "Checks bioseg against the reference values in DIR (folders labels/, primitives/, "
                        "small/, ...).\n");
        return 2;
    }
    if (stat(g.dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "golden_check: %s: %s\n", g.dir, errno ? strerror(errno) : "not a folder");
        return 2;
    }
    for (size_t a = 0; a < AREAS; a++)
        if ((!g.area || !strcmp(g.area, areas[a].folder)) && golden_has(&g, areas[a].folder, ""))
            check_area(&g, &areas[a]);
    if (!g.area)
        skip_unknown_folders(&g);
    if (g.passed + g.failed == 0)
        printf("FAIL nothing to check was found in %s\n", g.dir);
    printf("%u passed, %u failed, %u skipped\n", g.passed, g.failed, g.skipped);
    while (g.files) {
        struct looked_at *next = g.files->next;
        free(g.files->path);
        free(g.files);
        g.files = next;
    }
    return g.failed == 0 && g.passed > 0 ? 0 : 1;
}
