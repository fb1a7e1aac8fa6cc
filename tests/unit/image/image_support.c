/* Helpers of the image tests; see image_support.h. */
#include "image_support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

unsigned char *read_all(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size ? *size : 1);
    if (data && fread(data, 1, *size, f) != *size) {
        free(data);
        data = NULL;
    }
    fclose(f);
    return data;
}

uint64_t fnv1a64(const void *data, size_t size)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001B3u;
    return h;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

size_t list_names(const char *folder, const char *suffix, char ***names)
{
    size_t count = 0;
    DIR *d = opendir(folder);
    *names = NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t len = strlen(e->d_name), end = strlen(suffix);
        if (e->d_name[0] == '.' || len < end || strcmp(e->d_name + len - end, suffix) != 0)
            continue;
        char **grown = realloc(*names, (count + 1) * sizeof **names);
        if (!grown)
            abort();
        *names = grown;
        (*names)[count++] = strdup(e->d_name);
    }
    if (d)
        closedir(d);
    if (count)
        qsort(*names, count, sizeof **names, by_name);
    return count;
}

void free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

void make_folder(char path[256])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, 256, "%s/bioseg-test.XXXXXX", base && strlen(base) < 200 ? base : "/tmp");
    if (!mkdtemp(path))
        abort();
}

void remove_folder(const char *path)
{
    char **names, file[600];
    size_t n = list_names(path, "", &names);
    for (size_t i = 0; i < n; i++) {
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        unlink(file);
    }
    free_names(names, n);
    rmdir(path);
}
