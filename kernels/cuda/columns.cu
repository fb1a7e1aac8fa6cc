// Bound by memory: each value is read once, eight rows of a thread at a time; partial sums are a thousandth of that.
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/sums.cuh"

namespace bs_columns
{

template <class T, bool FOURS> BS_DEVICE void sums_of(const struct bs__column_sums &s, bs_shared<float> room)
{
    constexpr int EACH = bs_column_each<FOURS>;
    const bs_column_place at = bs_column_place_of(s.geometry);
    const int64_t step = at.lanes * s.x.stride;
    bs_global<const T> x = bs_at<const T>(s.x.at) + ((at.first + at.lane) * s.x.stride + at.column);
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int rows = bs_column_rows(at); rows > 0; rows -= EACH) {
        bs_float4 v[EACH];
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows) v[k] =
            bs_load_some<FOURS>(x, k * step, at.left);
        else v[k] = {{0.0f, 0.0f, 0.0f, 0.0f}};
        BS_UNROLL for (int k = 0; k < EACH; k++) BS_UNROLL for (int c = 0; c < 4; c++) sum[c] += v[k].at[c];
        x += EACH * step;
    }
    bs_sum_lanes(sum, at, room);
    if (at.lane == 0)
        bs_store_some<false>(bs_at<float>(s.workspace), at.slab * s.columns + at.column, at.left,
                             {{sum[0], sum[1], sum[2], sum[3]}});
}
template <class T> BS_DEVICE void sums(const struct bs__column_sums &s)
{
    BS_SHARED(float, room, 4 * BS__COLUMNS_BLOCK);
    if (s.in_fours)
        sums_of<T, true>(s, room);
    else
        sums_of<T, false>(s, room);
}

// A warp has a column of a plane; the lanes take every 32nd part.
BS_DEVICE void totals(const struct bs__column_totals &t)
{
    const int64_t item = (int64_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    const int64_t column = item % t.columns, plane = item / t.columns;
    if (plane >= 2 || t.out[plane] == 0)
        return;
    const bs_global<const float> partial =
        bs_at<const float>(t.partial) + (plane * t.parts * t.columns + column);
    float sum = 0.0f;
    for (int64_t part = threadIdx.x % 32; part < t.parts; part += 32)
        sum += bs_load(partial, part * t.columns);
    sum = bs_warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        bs_store(bs_at<float>(t.out[plane]), column, sum);
}

BS_KERNEL(column_sums_f32, BS__COLUMNS_BLOCK, sums<bs_f32>, struct bs__column_sums)
BS_KERNEL(column_sums_f16, BS__COLUMNS_BLOCK, sums<bs_f16>, struct bs__column_sums)
BS_KERNEL(column_sums_bf16, BS__COLUMNS_BLOCK, sums<bs_bf16>, struct bs__column_sums)
BS_KERNEL(column_totals_f32, BS__COLUMNS_BLOCK, totals, struct bs__column_totals)

} // namespace bs_columns
