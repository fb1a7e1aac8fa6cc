/* Helpers of the image tests: whole files in exactly sized memory (so that a sanitizer sees any read past their end), and
   the hash of expected.tsv. */
#ifndef BS_TESTS_IMAGE_SUPPORT_H
#define BS_TESTS_IMAGE_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

/* NULL when the file cannot be read. Free with free. */
unsigned char *read_all(const char *path, size_t *size);
uint64_t fnv1a64(const void *data, size_t size);
/* The folder as an array of sorted names that end in suffix; free_names. */
size_t list_names(const char *folder, const char *suffix, char ***names);
void free_names(char **names, size_t count);
/* A fresh folder below the system's temporary one; remove_folder also removes the files in it. */
void make_folder(char path[256]);
void remove_folder(const char *path);

#endif
