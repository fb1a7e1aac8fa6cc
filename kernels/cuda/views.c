#include "kernels/cuda/views.h"

#include <inttypes.h>

#define MOST_ITEMS INT64_C(0x7fffffff)

struct bs__divisor bs__divisor_of(int64_t by)
{
    BS_ASSERT(by >= 1 && by <= MOST_ITEMS);
    /* With 2^bits >= by, multiply = ceil(2^(31 + bits) / by) is too large by less than by / 2^(31 + bits) in relation, which
       moves no quotient of a number below 2^31. It is below 2^32, since by > 2^(bits - 1). */
    unsigned bits = 0;
    while ((INT64_C(1) << bits) < by)
        bits++;
    const uint64_t one = UINT64_C(1) << (31 + bits), d = (uint64_t)by;
    return (struct bs__divisor){(uint32_t)by, (uint32_t)((one + d - 1) / d), 31 + bits};
}

bool bs__aligned(bs_address at, size_t bytes)
{
    return at % bytes == 0;
}

bool bs__in_fours(const struct bs__rows *rows, int64_t columns, size_t element_bytes)
{
    return rows->at == 0 ||
           (columns % 4 == 0 && rows->stride % 4 == 0 && bs__aligned(rows->at, 4 * element_bytes));
}

bs_status bs__need_rows_if(const char *kernel, const char *what, const struct bs__rows *rows, int64_t columns,
                           struct bs_err *err)
{
    if (rows->at != 0 && rows->stride < columns)
        return BS_FAIL(err, BS_EINTERNAL,
                       "%s: %s has rows of %" PRId64 " elements every %" PRId64 " elements", kernel, what,
                       columns, rows->stride);
    return BS_OK;
}

bs_status bs__need_rows(const char *kernel, const char *what, const struct bs__rows *rows, int64_t columns,
                        struct bs_err *err)
{
    if (rows->at == 0)
        return BS_FAIL(err, BS_EINTERNAL, "%s: %s is not given", kernel, what);
    return bs__need_rows_if(kernel, what, rows, columns, err);
}

bs_status bs__need_size(const char *kernel, const char *what, int64_t size, int64_t least, struct bs_err *err)
{
    if (size < least)
        return BS_FAIL(err, BS_EINTERNAL, "%s: %s is %" PRId64 "; at least %" PRId64 " is accepted", kernel,
                       what, size, least);
    return BS_OK;
}

bs_status bs__need_positive(const char *kernel, const char *what, float value, struct bs_err *err)
{
    if (!(value > 0))
        return BS_FAIL(err, BS_EINTERNAL, "%s: %s is %g; more than 0 is accepted", kernel, what,
                       (double)value);
    return BS_OK;
}

bs_status bs__need_address(const char *kernel, const char *what, bs_address at, size_t bytes,
                           struct bs_err *err)
{
    if (at == 0)
        return BS_FAIL(err, BS_EINTERNAL, "%s: %s is not given", kernel, what);
    if (!bs__aligned(at, bytes))
        return BS_FAIL(err, BS_EINTERNAL, "%s: %s lies at no multiple of %zu bytes", kernel, what, bytes);
    return BS_OK;
}

bs_status bs__need_items(const char *kernel, double items, struct bs_err *err)
{
    if (items > (double)MOST_ITEMS)
        return BS_FAIL(err, BS_ELIMIT,
                       "%s: %.0f groups of elements; at most %" PRId64
                       " are computed at once on a GPU: use smaller tiles or smaller batches",
                       kernel, items, MOST_ITEMS);
    return BS_OK;
}

bs_status bs__launch_items(struct bs__queue *q, const char *kernel, enum bs__element e, int64_t items,
                           int64_t each, const void *arguments, size_t bytes, struct bs_err *err)
{
    bs_status rc = bs__need_items(kernel, (double)items, err);
    if (rc != BS_OK)
        return rc;
    struct bs__launch launch = {
        .kernel = kernel,
        .element = e,
        .grid = {(unsigned)bs__pieces(items, each * BS__ITEM_THREADS), 1, 1},
        .threads = BS__ITEM_THREADS,
    };
    return bs__queue_launch(q, &launch, arguments, bytes, err);
}
