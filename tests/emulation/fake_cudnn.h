/* What the two files of the fake cuDNN share: fake_cudnn.c (convolutions) and fake_cudnn_graph.c (the graph interface, attention). */
#ifndef BS_TESTS_EMULATION_FAKE_CUDNN_H
#define BS_TESTS_EMULATION_FAKE_CUDNN_H

#include "kernels/cuda/cudnn.h"

#define FAKE_CUDNN_API                                __attribute__((visibility("default")))
#define PROTOTYPE(member, result, symbol, parameters) FAKE_CUDNN_API result symbol parameters;
BS__CUDNN_FUNCTIONS(PROTOTYPE)
#undef PROTOTYPE

struct bs__dn_context {
    void *stream;
};

#define FAKE_CUDNN_WORKSPACE 2048

/* Says why on standard error; returns BS__DN_BAD_PARAM. */
bs__dn_status fake_cudnn_refuse(const char *why);
/* One element of a type (BS__DN_F32, ...) as float. */
size_t fake_cudnn_bytes(int type);
float fake_cudnn_load(const void *p, size_t i, int type);
void fake_cudnn_store(void *p, size_t i, int type, float v);
/* Ends the program where descriptors of the graph interface are left. */
void fake_cudnn_expect_no_descriptors(void);

#endif
