/* An index over a serialised FileDescriptorSet: files by name, and which file declares a symbol. Immutable after
   creation; any thread. */
#ifndef BS_SERVER_SERVICE_SYMBOLS_H
#define BS_SERVER_SERVICE_SYMBOLS_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS__MAX_DEPENDENCIES 16

struct bs__text {
    const char *at; /* not terminated */
    size_t n;
};

struct bs__proto_file {
    struct bs__text name, package;
    const uint8_t *data; /* the FileDescriptorProto */
    size_t size;
    struct bs__text dependency[BS__MAX_DEPENDENCIES];
    int ndependency;
};

struct bs__symbols;

/* Borrows set. */
bs_status bs__symbols_create(const uint8_t *set, size_t size, struct bs__symbols **out,
                             struct bs_err *err) BS_NODISCARD;
void bs__symbols_destroy(struct bs__symbols *s);
/* -1 when there is none. */
int bs__symbols_file(const struct bs__symbols *s, const char *name, size_t n);
int bs__symbols_declaring(const struct bs__symbols *s, const char *symbol);
const struct bs__proto_file *bs__symbols_get(const struct bs__symbols *s, int file);
int bs__symbols_files(const struct bs__symbols *s);
/* Full name of the i-th service; false beyond the last. */
bool bs__symbols_service(const struct bs__symbols *s, int i, char *out, size_t cap);

#endif
