/* See cudnn.h. */
#include "kernels/cuda/cudnn_internal.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROPOSALS      10
#define MOST_WORKSPACE BS__CUDNN_MOST_WORKSPACE

struct bs__cudnn_plan {
    const struct bs__cudnn *dn;
    bs__dn_tensor x, y, bias;
    bs__dn_filter w;
    bs__dn_convolution convolution;
    bs__dn_activation activation;
    bs__dn_algorithm algorithm;
    size_t workspace;
};

bs_status bs__cudnn_check(const struct bs__cudnn *dn, bs__dn_status s, const char *tried, struct bs_err *err)
{
    if (s == BS__DN_SUCCESS)
        return BS_OK;
    return BS_FAIL(err, BS_EINTERNAL, "cuDNN cannot %s: %s (%d)", tried, dn->status_text(s), (int)s);
}

static bs_status find_functions(struct bs__cudnn *dn, struct bs_err *err)
{
#define FIND(member, result, symbol, parameters)                                                             \
    {                                                                                                        \
        void *found = dlsym(dn->library, #symbol);                                                           \
        if (!found)                                                                                          \
            return BS_FAIL(err, BS_EUNSUPPORTED, "cuDNN has no function " #symbol ": version 9 is needed");  \
        memcpy(&dn->member, &found, sizeof found);                                                           \
    }
    BS__CUDNN_FUNCTIONS(FIND)
#undef FIND
    return BS_OK;
}

/* cuDNN builds kernels with NVRTC, which looks for a part of its own by name alone: not beside itself. Where this plugin finds both, they
   are loaded for it; where not, cuDNN looks on its own and says what it misses. They stay loaded, as cuDNN does. */
static void load_compiler(const struct bs__cudnn *dn)
{
    char name[48];
    int major = 0, minor = 0, (*version)(int *, int *) = NULL;
    snprintf(name, sizeof name, "libnvrtc.so.%zu", dn->cuda_version() / 1000);
    void *nvrtc = dlopen(name, RTLD_NOW | RTLD_LOCAL), *found = nvrtc ? dlsym(nvrtc, "nvrtcVersion") : NULL;
    memcpy(&version, &found, sizeof found);
    if (!version || version(&major, &minor) != 0)
        return;
    snprintf(name, sizeof name, "libnvrtc-builtins.so.%d.%d", major, minor);
    (void)dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

bs_status bs__cudnn_load(struct bs__cudnn **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct bs__cudnn *dn = calloc(1, sizeof *dn);
    *out = NULL;
    if (!dn)
        return BS_FAIL(err, BS_ENOMEM, "no memory for cuDNN");
    dn->library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    if (!dn->library)
        rc = BS_FAIL(err, BS_EUNSUPPORTED,
                     "cuDNN is not installed (version 9 is used); own convolutions serve");
    else
        rc = find_functions(dn, err);
    if (rc == BS_OK) {
        load_compiler(dn);
        *out = dn;
    } else {
        bs__cudnn_close(dn);
    }
    return rc;
}

bs_status bs__cudnn_open(void *stream, struct bs__cudnn **out, struct bs_err *err)
{
    struct bs__cudnn *dn = NULL;
    *out = NULL;
    bs_status rc = bs__cudnn_load(&dn, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = bs__cudnn_check(dn, dn->create(&dn->handle), "start", err)) != BS_OK) {
        dn->handle = NULL;
        goto cleanup;
    }
    if ((rc = bs__cudnn_check(dn, dn->set_stream(dn->handle, stream), "take a stream", err)) != BS_OK)
        goto cleanup;
    *out = dn;
    dn = NULL;
cleanup:
    bs__cudnn_close(dn);
    return rc;
}

void bs__cudnn_close(struct bs__cudnn *dn)
{
    if (!dn)
        return;
    if (dn->handle)
        (void)dn->destroy(dn->handle);
    /* The library stays loaded: it has threads and state of its own. */
    free(dn);
}

size_t bs__cudnn_version(const struct bs__cudnn *dn)
{
    return dn->version();
}

static bs_status make(struct bs__cudnn_plan *plan, struct bs_err *err)
{
    const struct bs__cudnn *dn = plan->dn;
    bs_status rc;
    bs__dn_tensor *tensor[] = {&plan->x, &plan->y, &plan->bias};
    for (size_t i = 0; i < sizeof tensor / sizeof *tensor; i++)
        if ((rc = bs__cudnn_check(dn, dn->tensor_create(tensor[i]), "describe an image", err)) != BS_OK) {
            *tensor[i] = NULL;
            return rc;
        }
    if ((rc = bs__cudnn_check(dn, dn->filter_create(&plan->w), "describe a weight", err)) != BS_OK) {
        plan->w = NULL;
        return rc;
    }
    if ((rc = bs__cudnn_check(dn, dn->convolution_create(&plan->convolution), "describe a convolution",
                              err)) != BS_OK) {
        plan->convolution = NULL;
        return rc;
    }
    if ((rc = bs__cudnn_check(dn, dn->activation_create(&plan->activation), "describe an activation", err)) !=
        BS_OK)
        plan->activation = NULL;
    return rc;
}

static bs_status describe(struct bs__cudnn_plan *plan, const struct bs__cudnn_convolution *c,
                          struct bs_err *err)
{
    const struct bs__cudnn *dn = plan->dn;
    const bs__dn_format nhwc = (bs__dn_format)BS__DN_NHWC;
    const bs__dn_data type = (bs__dn_data)(c->element == BS__F32   ? BS__DN_F32
                                           : c->element == BS__F16 ? BS__DN_F16
                                                                   : BS__DN_BF16);
    const bs__dn_math math = (bs__dn_math)(c->element != BS__F32 ? BS__DN_TENSOR_MATH
                                           : c->tf32             ? BS__DN_DEFAULT_MATH
                                                                 : BS__DN_FMA_MATH);
    const bs__dn_activation_mode end = (bs__dn_activation_mode)(c->relu ? BS__DN_RELU : BS__DN_IDENTITY);
    bs_status rc;
    if ((rc = bs__cudnn_check(
             dn, dn->tensor_set(plan->x, nhwc, type, (int)c->samples, (int)c->in, (int)c->h, (int)c->w),
             "describe an image", err)) != BS_OK ||
        (rc = bs__cudnn_check(
             dn,
             dn->tensor_set(plan->y, nhwc, type, (int)c->samples, (int)c->out, (int)c->out_h, (int)c->out_w),
             "describe an image", err)) != BS_OK ||
        (rc = bs__cudnn_check(dn, dn->tensor_set(plan->bias, nhwc, type, 1, (int)c->out, 1, 1),
                              "describe a bias", err)) != BS_OK ||
        (rc = bs__cudnn_check(
             dn, dn->filter_set(plan->w, type, nhwc, (int)c->out, (int)c->in, c->kernel_h, c->kernel_w),
             "describe a weight", err)) != BS_OK ||
        (rc = bs__cudnn_check(dn,
                              dn->convolution_set(plan->convolution, c->pad, c->pad, c->stride, c->stride, 1,
                                                  1, (bs__dn_mode)BS__DN_CROSS_CORRELATION,
                                                  (bs__dn_data)BS__DN_F32),
                              "describe a convolution", err)) != BS_OK ||
        (rc = bs__cudnn_check(dn, dn->convolution_math(plan->convolution, math), "choose how to multiply",
                              err)) != BS_OK)
        return rc;
    return bs__cudnn_check(dn, dn->activation_set(plan->activation, end, (bs__dn_nan)BS__DN_PROPAGATE_NAN, 0),
                           "describe an activation", err);
}

/* Without an activation the library adds a bias in one of its algorithms only; the ones by Fourier transform round too much. */
static bool acceptable(const struct bs__cudnn_convolution *c, const bs__dn_proposal *p)
{
    const int a = (int)p->algo;
    const bool winograd = a == BS__DN_WINOGRAD || a == BS__DN_WINOGRAD_NONFUSED;
    return p->status == BS__DN_SUCCESS && p->determinism == BS__DN_DETERMINISTIC &&
           p->memory <= MOST_WORKSPACE && a != BS__DN_FFT && a != BS__DN_FFT_TILING &&
           (c->winograd || !winograd) && (c->relu || a == BS__DN_PRECOMPUTED_GEMM);
}

/* *found: whether there is one. */
static bs_status choose(struct bs__cudnn_plan *plan, const struct bs__cudnn_convolution *c, bool *found,
                        struct bs_err *err)
{
    const struct bs__cudnn *dn = plan->dn;
    bs__dn_proposal list[PROPOSALS];
    int count = 0;
    const bs__dn_status s =
        dn->propose(dn->handle, plan->x, plan->w, plan->convolution, plan->y, PROPOSALS, &count, list);
    if (s >= BS__DN_NOT_SUPPORTED)
        return BS_OK;
    bs_status rc = bs__cudnn_check(dn, s, "choose an algorithm", err);
    for (int i = 0; i < count && rc == BS_OK && !*found; i++) {
        if (!acceptable(c, &list[i]))
            continue;
        plan->algorithm = list[i].algo;
        *found = dn->workspace(dn->handle, plan->x, plan->w, plan->convolution, plan->y, plan->algorithm,
                               &plan->workspace) == BS__DN_SUCCESS &&
                 plan->workspace <= MOST_WORKSPACE;
    }
    return rc;
}

bs_status bs__cudnn_plan(struct bs__cudnn *dn, const struct bs__cudnn_convolution *c,
                         struct bs__cudnn_plan **out, struct bs_err *err)
{
    bs_status rc;
    bool found = false;
    *out = NULL;
    if (c->samples > INT_MAX || c->h > INT_MAX || c->w > INT_MAX || c->in > INT_MAX || c->out > INT_MAX)
        return BS_OK; /* beyond what the library counts */
    struct bs__cudnn_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return BS_FAIL(err, BS_ENOMEM, "no memory to plan a convolution");
    plan->dn = dn;
    if ((rc = make(plan, err)) != BS_OK || (rc = describe(plan, c, err)) != BS_OK ||
        (rc = choose(plan, c, &found, err)) != BS_OK)
        goto cleanup;
    if (found) {
        *out = plan;
        plan = NULL;
    }
cleanup:
    bs__cudnn_plan_destroy(plan);
    return rc;
}

void bs__cudnn_plan_destroy(struct bs__cudnn_plan *plan)
{
    if (!plan)
        return;
    const struct bs__cudnn *dn = plan->dn;
    bs__dn_tensor tensor[] = {plan->x, plan->y, plan->bias};
    for (size_t i = 0; i < sizeof tensor / sizeof *tensor; i++)
        if (tensor[i])
            (void)dn->tensor_destroy(tensor[i]);
    if (plan->w)
        (void)dn->filter_destroy(plan->w);
    if (plan->convolution)
        (void)dn->convolution_destroy(plan->convolution);
    if (plan->activation)
        (void)dn->activation_destroy(plan->activation);
    free(plan);
}

size_t bs__cudnn_plan_workspace(const struct bs__cudnn_plan *plan)
{
    return plan->workspace;
}

int bs__cudnn_plan_algorithm(const struct bs__cudnn_plan *plan)
{
    return (int)plan->algorithm;
}

bs_status bs__cudnn_convolve(const struct bs__cudnn_plan *plan, bs_address x, bs_address w, bs_address bias,
                             bs_address y, bs_address workspace, struct bs_err *err)
{
    const struct bs__cudnn *dn = plan->dn;
    const float one = 1, zero = 0;
    void *to = (void *)(uintptr_t)y;
    return bs__cudnn_check(dn,
                           dn->convolve(dn->handle, &one, plan->x, (const void *)(uintptr_t)x, plan->w,
                                        (const void *)(uintptr_t)w, plan->convolution, plan->algorithm,
                                        (void *)(uintptr_t)workspace, plan->workspace, &zero, plan->y, to,
                                        plan->bias, (const void *)(uintptr_t)bias, plan->activation, plan->y,
                                        to),
                           "queue a convolution", err);
}
