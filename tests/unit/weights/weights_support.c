/* See weights_support.h. */
#include "tests/unit/weights/weights_support.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

int memory_file(const void *data, size_t size)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)data + done, size - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static char *path_slot(void)
{
    static char slots[64][4096];
    static unsigned next;
    return slots[next++ % 64];
}

const char *fixture_path(const char *name)
{
    char *path = path_slot();
    snprintf(path, 4096, "%s/%s", BS_TEST_FIXTURES, name);
    return path;
}

const char *scratch_path(const char *name)
{
    static char folder[64];
    char *path = path_slot();
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "test-weights-XXXXXX");
        assert_non_null(mkdtemp(folder));
    }
    snprintf(path, 4096, "%s/%s", folder, name);
    return path;
}

unsigned char *fixture(const char *name, size_t *size)
{
    FILE *f = fopen(fixture_path(name), "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, f), *size);
    fclose(f);
    return data;
}

int safetensors_file(const char *header, const void *data, size_t size)
{
    const size_t n = strlen(header);
    unsigned char *file = malloc(8 + n + size);
    assert_non_null(file);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)n >> 8 * i);
    memcpy(file + 8, header, n);
    if (size)
        memcpy(file + 8 + n, data, size);
    int fd = memory_file(file, 8 + n + size);
    free(file);
    return fd;
}
