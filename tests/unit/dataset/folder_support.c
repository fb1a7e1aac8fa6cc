/* See folder_support.h. */
#include "tests/unit/dataset/folder_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[32];
static struct bs_names folders;
struct bs_root *folder_root;

const char *folder_path(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

int folder_make(void **state)
{
    (void)state;
    strcpy(folder, "dataset-XXXXXX");
    return mkdtemp(folder) && bs_root_open(folder, &folder_root, NULL) == BS_OK ? 0 : -1;
}

int folder_remove(void **state)
{
    (void)state;
    struct bs_names names = {0};
    if (bs_root_list(folder_root, "", &names, NULL) == BS_OK)
        for (size_t i = 0; i < names.count; i++)
            unlink(folder_path(names.at[i]));
    bs_names_clear(&names);
    bs_root_close(folder_root);
    for (size_t i = folders.count; i-- > 0;)
        rmdir(folder_path(folders.at[i]));
    bs_names_clear(&folders);
    return rmdir(folder);
}

void folder_add(const char *name)
{
    assert_int_equal(mkdir(folder_path(name), 0700), 0);
    assert_int_equal(bs_names_add(&folders, name, NULL), BS_OK);
}

static void must(bs_status rc, const struct bs_err *err)
{
    if (rc != BS_OK)
        fail_msg("%s", err->msg);
}

void folder_write_png(const char *name, const uint32_t *v, size_t height, size_t width)
{
    struct bs_err err;
    must(bs_labels_write_png(folder_path(name), v, height, width, &err), &err);
}

void folder_write_tiff(const char *name, const uint32_t *v, size_t planes, size_t height, size_t width)
{
    struct bs_err err;
    must(bs_labels_write_tiff(folder_path(name), v, planes, height, width, NULL, &err), &err);
}

void folder_write_float(const char *name, const float *v, size_t height, size_t width)
{
    struct bs_err err;
    must(bs_maps_write_tiff(folder_path(name), v, 1, height, width, NULL, &err), &err);
}

void folder_write_text(const char *name, const char *text)
{
    FILE *f = fopen(folder_path(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

struct bs_manifest_pair folder_pair(const char *image, const char *labels)
{
    return (struct bs_manifest_pair){.image = {.name = (char *)image},
                                     .labels = {.name = (char *)labels},
                                     .image_plane = BS_PLANE_ONLY,
                                     .labels_plane = BS_PLANE_ONLY,
                                     .group = (char *)image};
}

void folder_add_pair(struct bs_manifest *m, struct bs_manifest_pair pair)
{
    struct bs_err err;
    must(bs_manifest_add(m, &pair, &err), &err);
}
