/* See libraries.h. */
#include "kernels/cuda/libraries.h"

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/cudnn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bs__libraries_open(struct bs__libraries *l, void *stream)
{
    struct bs_err err;
    memset(l, 0, sizeof *l);
    const char *attention = secure_getenv("BS_CUDA_ATTENTION");
    l->attention = !attention                    ? BS__ATTENTION_CHOSEN
                   : !strcmp(attention, "own")   ? BS__ATTENTION_OWN
                   : !strcmp(attention, "cudnn") ? BS__ATTENTION_LIBRARY
                                                 : BS__ATTENTION_CHOSEN;
    const char *wish = secure_getenv("BS_CUDA_LIBRARIES");
    if (wish && !strcmp(wish, "none")) {
        snprintf(l->missing[0], sizeof l->missing[0], "BS_CUDA_LIBRARIES leaves out cuBLASLt and cuDNN");
        return;
    }
    if (bs__cublaslt_open(stream, &l->cublaslt, &err) != BS_OK)
        snprintf(l->missing[0], sizeof l->missing[0], "%.120s", err.msg);
    if (bs__cudnn_open(stream, &l->cudnn, &err) != BS_OK)
        snprintf(l->missing[1], sizeof l->missing[1], "%.120s", err.msg);
}

void bs__libraries_close(struct bs__libraries *l)
{
    bs__cublaslt_close(l->cublaslt);
    bs__cudnn_close(l->cudnn);
    memset(l, 0, sizeof *l);
}

/* Both write their version as 10000 major + 100 minor + patch. */
static void name(const char *library, size_t version, const char *instead, char *text, size_t len)
{
    if (version)
        snprintf(text, len, "%s %zu.%zu.%zu", library, version / 10000, version / 100 % 100, version % 100);
    else
        snprintf(text, len, "%s", instead);
}

void bs__libraries_describe(const struct bs__libraries *l, char *text, size_t len, char *notice,
                            size_t notice_len)
{
    char product[40], convolution[40];
    name("cuBLASLt", l->cublaslt ? bs__cublaslt_version(l->cublaslt) : 0, "own products", product,
         sizeof product);
    name("cuDNN", l->cudnn ? bs__cudnn_version(l->cudnn) : 0, "own convolutions", convolution,
         sizeof convolution);
    snprintf(text, len, "%s, %s", product, convolution);
    snprintf(notice, notice_len, "%s%s%s", l->missing[0], l->missing[0][0] && l->missing[1][0] ? "; " : "",
             l->missing[1]);
}
