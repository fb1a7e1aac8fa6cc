/* A folder of images and labels for tests, made in the working folder and removed again. */
#ifndef BS_TESTS_DATASET_FOLDER_SUPPORT_H
#define BS_TESTS_DATASET_FOLDER_SUPPORT_H

#include "model/dataset/files.h"

/* cmocka's setup and teardown. */
int folder_make(void **state);
int folder_remove(void **state);

extern struct bs_root *folder_root;
/* Path of a file in the folder; valid until the next call. */
const char *folder_path(const char *name);
/* Makes a folder inside. */
void folder_add(const char *name);

/* planes x height x width samples of 16 bit (PNG: one plane) and 32 bit. */
void folder_write_png(const char *name, const uint32_t *v, size_t height, size_t width);
void folder_write_tiff(const char *name, const uint32_t *v, size_t planes, size_t height, size_t width);
void folder_write_float(const char *name, const float *v, size_t height, size_t width);
void folder_write_text(const char *name, const char *text);

/* A pair of files with one plane each. */
struct bs_manifest_pair folder_pair(const char *image, const char *labels);
void folder_add_pair(struct bs_manifest *m, struct bs_manifest_pair pair);

#endif
