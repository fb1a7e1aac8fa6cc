/* --label KEY=VALUE, the user's own marks of jobs and models: collected from the command line, made into the map that the
   messages have. What a key may be is the server's to say. Strings are copied; plain data, one thread. */
#ifndef BS_CLIENTS_CLI_LABELS_H
#define BS_CLIENTS_CLI_LABELS_H

#include "kernels/base/status.h"

#include <protobuf-c/protobuf-c.h>

#define BS__MAX_LABELS 16

/* The entries of every map<string, string> have this layout. */
struct bs__label {
    ProtobufCMessage base;
    char *key, *value;
};

struct bs__labels {
    size_t n;
    struct bs__label label[BS__MAX_LABELS], *pointer[BS__MAX_LABELS];
};

/* "KEY=VALUE". BS_EINVAL: no such form, a key given twice, or too many. */
bs_status bs__labels_parse(struct bs__labels *l, const char *text, struct bs_err *err) BS_NODISCARD;
/* Adds or replaces. */
bs_status bs__labels_set(struct bs__labels *l, const char *key, const char *value,
                         struct bs_err *err) BS_NODISCARD;
bool bs__labels_have(const struct bs__labels *l, const char *key);
/* The entries of a map whose entry type is `entry`; valid until the labels change. NULL when there are none. */
void *bs__labels_entries(struct bs__labels *l, const ProtobufCMessageDescriptor *entry);
void bs__labels_free(struct bs__labels *l);

#endif
