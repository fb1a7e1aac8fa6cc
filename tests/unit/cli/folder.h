/* A folder of its own for each test, and small files in it. */
#ifndef BS_TESTS_UNIT_CLI_FOLDER_H
#define BS_TESTS_UNIT_CLI_FOLDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>

/* Enters a new empty folder; leaving removes it with all that is in it. */
int enter_folder(void **state);
int leave_folder(void **state);
/* Writes text to a file, making its folders. */
void put(const char *path, const char *text);
/* The whole of a file; the caller frees. */
char *take(const char *path);
bool exists(const char *path);

#endif
