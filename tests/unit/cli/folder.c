/* See folder.h. */
#include "folder.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int enter_folder(void **state)
{
    char *name = strdup(P_tmpdir "/bioseg-test-XXXXXX");
    if (!name || !mkdtemp(name) || chdir(name) != 0)
        return -1;
    *state = name;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag, (void)walk;
    return remove(path);
}

int leave_folder(void **state)
{
    int rc = chdir("/") != 0 || nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0;
    free(*state);
    return rc;
}

void put(const char *path, const char *text)
{
    char *copy = strdup(path);
    for (char *c = copy; (c = strchr(c + 1, '/'));) {
        *c = '\0';
        mkdir(copy, 0777);
        *c = '/';
    }
    free(copy);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

char *take(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}
