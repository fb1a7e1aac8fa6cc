/* Files in memory and fixtures for the tests of this folder. Single-threaded; failures end the test. */
#ifndef BS_TESTS_UNIT_WEIGHTS_SUPPORT_H
#define BS_TESTS_UNIT_WEIGHTS_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

/* An anonymous file with these bytes. */
int memory_file(const void *data, size_t size);
/* The bytes of a fixture ("golden/checkpoints/state_dict.pth"); free() them. */
unsigned char *fixture(const char *name, size_t *size);
/* Path of a fixture, or of a file in a folder of its own that the process has made; valid until 64 calls later. */
const char *fixture_path(const char *name);
const char *scratch_path(const char *name);
/* A safetensors file: header text and tensors. */
int safetensors_file(const char *header, const void *data, size_t size);

#endif
