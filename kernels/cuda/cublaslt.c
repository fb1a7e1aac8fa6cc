/* See cublaslt.h. The library's matrices are stored by columns: our rows are its columns, so y^T = w x^T is what it computes. */
#include "kernels/cuda/cublaslt.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define MOST_WORKSPACE ((size_t)32 << 20) /* what the vendor advises for its largest devices */

struct bs__cublaslt {
    void *library;
    void *stream;
    bs__lt_handle handle;
/* A declaration takes no parentheses: NOLINTNEXTLINE(bugprone-macro-parentheses) */
#define MEMBER(member, result, symbol, parameters) result(*member) parameters;
    BS__CUBLASLT_FUNCTIONS(MEMBER)
#undef MEMBER
};

struct bs__cublaslt_plan {
    const struct bs__cublaslt *lt;
    bs__lt_desc desc;
    bs__lt_layout w, x, residual, y;
    bs__lt_proposal chosen;
    bool has_bias, has_residual;
};

static bs_status check(const struct bs__cublaslt *lt, bs__lt_status s, const char *tried, struct bs_err *err)
{
    if (s == BS__LT_SUCCESS)
        return BS_OK;
    return BS_FAIL(err, BS_EINTERNAL, "cuBLASLt cannot %s: %s (%d)", tried, lt->status_text(s), (int)s);
}

static bs_status find_functions(struct bs__cublaslt *lt, struct bs_err *err)
{
#define FIND(member, result, symbol, parameters)                                                             \
    {                                                                                                        \
        void *found = dlsym(lt->library, #symbol);                                                           \
        if (!found)                                                                                          \
            return BS_FAIL(err, BS_EUNSUPPORTED,                                                             \
                           "cuBLASLt has no function " #symbol ": 12 or 13 is needed");                      \
        memcpy(&lt->member, &found, sizeof found);                                                           \
    }
    BS__CUBLASLT_FUNCTIONS(FIND)
#undef FIND
    return BS_OK;
}

bs_status bs__cublaslt_open(void *stream, struct bs__cublaslt **out, struct bs_err *err)
{
    static const char *const file[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
    bs_status rc = BS_OK;
    struct bs__cublaslt *lt = calloc(1, sizeof *lt);
    *out = NULL;
    if (!lt)
        return BS_FAIL(err, BS_ENOMEM, "no memory for cuBLASLt");
    lt->stream = stream;
    for (size_t i = 0; i < sizeof file / sizeof *file && !lt->library; i++)
        lt->library = dlopen(file[i], RTLD_NOW | RTLD_LOCAL);
    if (!lt->library) {
        rc = BS_FAIL(err, BS_EUNSUPPORTED,
                     "cuBLASLt is not installed (libcublas of CUDA 12 or 13 has it); own products serve");
        goto cleanup;
    }
    if ((rc = find_functions(lt, err)) != BS_OK ||
        (rc = check(lt, lt->create(&lt->handle), "start", err)) != BS_OK)
        goto cleanup;
    *out = lt;
    lt = NULL;
cleanup:
    bs__cublaslt_close(lt);
    return rc;
}

void bs__cublaslt_close(struct bs__cublaslt *lt)
{
    if (!lt)
        return;
    if (lt->handle)
        (void)lt->destroy(lt->handle);
    /* The library stays loaded: it has threads and state of its own. */
    free(lt);
}

size_t bs__cublaslt_version(const struct bs__cublaslt *lt)
{
    return lt->version();
}

static bs__lt_data data_type(enum bs__element e)
{
    return (bs__lt_data)(e == BS__F32 ? BS__LT_F32 : e == BS__F16 ? BS__LT_F16 : BS__LT_BF16);
}

static bs_status make_desc(struct bs__cublaslt_plan *plan, const struct bs__cublaslt_product *p,
                           struct bs_err *err)
{
    const struct bs__cublaslt *lt = plan->lt;
    const int32_t transposed = BS__LT_TRANSPOSED;
    uint32_t epilogue = (p->bias ? BS__LT_EPILOGUE_BIAS : 0) | (p->relu ? BS__LT_EPILOGUE_RELU : 0);
    if (!epilogue)
        epilogue = BS__LT_EPILOGUE_DEFAULT;
    const bool tf32 = p->element == BS__F32 && p->tf32;
    bs_status rc =
        check(lt,
              lt->desc_create(&plan->desc, (bs__lt_compute)(tf32 ? BS__LT_COMPUTE_TF32 : BS__LT_COMPUTE_32F),
                              (bs__lt_data)BS__LT_F32),
              "describe a product", err);
    if (rc != BS_OK) {
        plan->desc = NULL;
        return rc;
    }
    if ((rc = check(
             lt,
             lt->desc_set(plan->desc, (bs__lt_desc_attribute)BS__LT_TRANSA, &transposed, sizeof transposed),
             "transpose a weight", err)) == BS_OK)
        rc = check(
            lt, lt->desc_set(plan->desc, (bs__lt_desc_attribute)BS__LT_EPILOGUE, &epilogue, sizeof epilogue),
            "describe what ends a product", err);
    return rc;
}

static bs_status make_layouts(struct bs__cublaslt_plan *plan, const struct bs__cublaslt_product *p,
                              struct bs_err *err)
{
    const struct bs__cublaslt *lt = plan->lt;
    const struct {
        bs__lt_layout *at;
        int64_t rows, columns, ld;
    } wanted[] = {{&plan->w, p->depth, p->columns, p->depth},
                  {&plan->x, p->depth, p->rows, p->x_stride},
                  {&plan->residual, p->columns, p->rows, p->residual ? p->residual_stride : p->y_stride},
                  {&plan->y, p->columns, p->rows, p->y_stride}};
    bs_status rc = BS_OK;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && rc == BS_OK; i++) {
        rc = check(lt,
                   lt->layout_create(wanted[i].at, data_type(p->element), (uint64_t)wanted[i].rows,
                                     (uint64_t)wanted[i].columns, wanted[i].ld),
                   "describe a matrix", err);
        if (rc != BS_OK)
            *wanted[i].at = NULL;
    }
    return rc;
}

/* *found: whether there is one. */
static bs_status choose(struct bs__cublaslt_plan *plan, const struct bs__cublaslt_product *p, bool *found,
                        struct bs_err *err)
{
    const struct bs__cublaslt *lt = plan->lt;
    const uint64_t most = MOST_WORKSPACE;
    const uint32_t weight_alignment = 256, c = p->residual ? p->residual_alignment : p->y_alignment;
    const struct {
        int attribute;
        const void *value;
        size_t bytes;
    } wish[] = {{BS__LT_MAX_WORKSPACE, &most, sizeof most},
                {BS__LT_ALIGNMENT_A, &weight_alignment, sizeof weight_alignment},
                {BS__LT_ALIGNMENT_B, &p->x_alignment, sizeof p->x_alignment},
                {BS__LT_ALIGNMENT_C, &c, sizeof c},
                {BS__LT_ALIGNMENT_D, &p->y_alignment, sizeof p->y_alignment}};
    /* The library looks at the alignment alone; the bias itself comes with each product. */
    const void *bias = p->bias ? (const void *)(uintptr_t)weight_alignment : NULL;
    bs__lt_preference preference = NULL;
    int count = 0;
    bs_status rc =
        check(lt, lt->desc_set(plan->desc, (bs__lt_desc_attribute)BS__LT_BIAS_POINTER, &bias, sizeof bias),
              "take a bias", err);
    if (rc == BS_OK)
        rc = check(lt, lt->preference_create(&preference), "take preferences", err);
    if (rc != BS_OK)
        return rc;
    for (size_t i = 0; i < sizeof wish / sizeof *wish && rc == BS_OK; i++)
        rc = check(lt,
                   lt->preference_set(preference, (bs__lt_preference_attribute)wish[i].attribute,
                                      wish[i].value, wish[i].bytes),
                   "take a preference", err);
    if (rc == BS_OK) {
        const bs__lt_status s = lt->propose(lt->handle, plan->desc, plan->w, plan->x, plan->residual, plan->y,
                                            preference, 1, &plan->chosen, &count);
        if (s != BS__LT_NOT_SUPPORTED)
            rc = check(lt, s, "choose an algorithm", err);
        *found = s == BS__LT_SUCCESS && count > 0 && plan->chosen.state == BS__LT_SUCCESS;
    }
    (void)lt->preference_destroy(preference);
    return rc;
}

bs_status bs__cublaslt_plan(struct bs__cublaslt *lt, const struct bs__cublaslt_product *p,
                            struct bs__cublaslt_plan **out, struct bs_err *err)
{
    bs_status rc;
    bool found = false;
    struct bs__cublaslt_plan *plan = calloc(1, sizeof *plan);
    *out = NULL;
    if (!plan)
        return BS_FAIL(err, BS_ENOMEM, "no memory to plan a product");
    BS_ASSERT(!(p->relu && p->residual));
    plan->lt = lt;
    plan->has_bias = p->bias;
    plan->has_residual = p->residual;
    if ((rc = make_desc(plan, p, err)) != BS_OK || (rc = make_layouts(plan, p, err)) != BS_OK ||
        (rc = choose(plan, p, &found, err)) != BS_OK)
        goto cleanup;
    if (found) {
        *out = plan;
        plan = NULL;
    }
cleanup:
    bs__cublaslt_plan_destroy(plan);
    return rc;
}

void bs__cublaslt_plan_destroy(struct bs__cublaslt_plan *plan)
{
    if (!plan)
        return;
    const struct bs__cublaslt *lt = plan->lt;
    bs__lt_layout layout[] = {plan->w, plan->x, plan->residual, plan->y};
    for (size_t i = 0; i < sizeof layout / sizeof *layout; i++)
        if (layout[i])
            (void)lt->layout_destroy(layout[i]);
    if (plan->desc)
        (void)lt->desc_destroy(plan->desc);
    free(plan);
}

size_t bs__cublaslt_plan_workspace(const struct bs__cublaslt_plan *plan)
{
    return plan->chosen.workspaceSize;
}

uint64_t bs__cublaslt_plan_algorithm(const struct bs__cublaslt_plan *plan)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    const unsigned char *p = (const unsigned char *)&plan->chosen.algo;
    for (size_t i = 0; i < sizeof plan->chosen.algo; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001B3);
    return h;
}

bs_status bs__cublaslt_multiply(const struct bs__cublaslt_plan *plan, bs_address x, bs_address w,
                                bs_address bias, bs_address residual, bs_address y, bs_address workspace,
                                struct bs_err *err)
{
    const struct bs__cublaslt *lt = plan->lt;
    const float one = 1, beta = plan->has_residual ? 1 : 0;
    const void *bias_at = (const void *)(uintptr_t)bias;
    bs_status rc = BS_OK;
    if (plan->has_bias)
        rc = check(
            lt,
            lt->desc_set(plan->desc, (bs__lt_desc_attribute)BS__LT_BIAS_POINTER, &bias_at, sizeof bias_at),
            "take a bias", err);
    if (rc != BS_OK)
        return rc;
    void *to = (void *)(uintptr_t)y;
    return check(lt,
                 lt->multiply(lt->handle, plan->desc, &one, (const void *)(uintptr_t)w, plan->w,
                              (const void *)(uintptr_t)x, plan->x, &beta,
                              plan->has_residual ? (const void *)(uintptr_t)residual : to, plan->residual, to,
                              plan->y, &plan->chosen.algo, (void *)(uintptr_t)workspace,
                              plan->chosen.workspaceSize, lt->stream),
                 "queue a product", err);
}
