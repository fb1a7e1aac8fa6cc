// Products in float (gemm.h). A block makes 128 x 64 of y (64 x 32 where that leaves multiprocessors without work); 16 of the
// depth lie in shared memory while the next 16 are copied beside them. Bound by multiply-adds: a thread has 8 x 8 sums and reads
// 16 bytes for 16 of them. The half types come here only where tensor cores cannot multiply them, and are widened on the way.
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/tile.cuh"

#include <type_traits>

#define GEMM_DEPTH 16

// [first, first + LENGTH) of an operand's rows or columns and GEMM_DEPTH of k to shared memory; zeros outside.
template <class T, bool along, int LENGTH>
BS_DEVICE void gemm_copy(bs_shared<float> to, bs_global<const T> from, int64_t stride, int64_t first,
                         int64_t length, int64_t k, int64_t depth, bool vectors)
{
    constexpr int WIDTH = along ? GEMM_DEPTH : LENGTH; // of a row of the tile
    const int64_t row_from = along ? first : k, rows = along ? length : depth;
    const int64_t column_from = along ? k : first, columns = along ? depth : length;
    for (int i = (int)threadIdx.x; i < GEMM_DEPTH * LENGTH / 4; i += TILE_THREADS) {
        const int r = i / (WIDTH / 4), c = i % (WIDTH / 4) * 4, at = r * (WIDTH + 4) + c;
        const int64_t row = row_from + r, column = column_from + c, left = columns - column;
        const int count = row >= rows || left <= 0 ? 0 : left < 4 ? (int)left : 4;
        const int64_t j = count ? row * stride + column : 0;
        if constexpr (std::is_same_v<T, bs_f32>)
            if (vectors && count == 4) {
                bs_copy16(to, at, from, j);
                continue;
            }
        bs_store4(to, at, tile_read4<T>(from, j, count, vectors));
    }
}

template <class T, bs__gemm_form FORM, int ROWS, int COLUMNS>
BS_DEVICE void gemm_simt(const bs__gemm_arguments &a)
{
    constexpr bool a_along = FORM != BS__GEMM_OUTER, b_along = FORM == BS__GEMM_LINEAR;
    constexpr int HEIGHT = 16 * ROWS, WIDTH = 8 * COLUMNS;
    constexpr int A_STRIDE = (a_along ? GEMM_DEPTH : HEIGHT) + 4,
                  B_STRIDE = (b_along ? GEMM_DEPTH : WIDTH) + 4;
    constexpr int A_SIZE = (a_along ? HEIGHT : GEMM_DEPTH) * A_STRIDE,
                  B_SIZE = (b_along ? WIDTH : GEMM_DEPTH) * B_STRIDE;
    BS_SHARED(float, shared, 2 * (A_SIZE + B_SIZE));
    const int64_t top = (int64_t)blockIdx.x / a.column_tiles * HEIGHT,
                  left = (int64_t)blockIdx.x % a.column_tiles * WIDTH;
    const bs_global<const T> from_a = bs_at<const T>(a.a), from_b = bs_at<const T>(a.b);

    float sum[ROWS][COLUMNS] = {};
    int now = 0;
    gemm_copy<T, a_along, HEIGHT>(shared, from_a, a.a_stride, top, a.rows, 0, a.depth, a.a_vectors);
    gemm_copy<T, b_along, WIDTH>(shared + A_SIZE, from_b, a.b_stride, left, a.columns, 0, a.depth,
                                 a.b_vectors);
    bs_copy_commit();
    for (int64_t k = 0; k < a.depth; k += GEMM_DEPTH) {
        bs_copy_wait<0>();
        bs_barrier(); // this part is there, and the other was read
        const bs_shared<float> tile_a = shared + now * (A_SIZE + B_SIZE), tile_b = tile_a + A_SIZE;
        now ^= 1;
        if (k + GEMM_DEPTH < a.depth) {
            const bs_shared<float> next = shared + now * (A_SIZE + B_SIZE);
            gemm_copy<T, a_along, HEIGHT>(next, from_a, a.a_stride, top, a.rows, k + GEMM_DEPTH, a.depth,
                                          a.a_vectors);
            gemm_copy<T, b_along, WIDTH>(next + A_SIZE, from_b, a.b_stride, left, a.columns, k + GEMM_DEPTH,
                                         a.depth, a.b_vectors);
        }
        bs_copy_commit();
        if constexpr (FORM == BS__GEMM_LINEAR)
            tile_along_along(sum, tile_a, A_STRIDE, tile_b, B_STRIDE, GEMM_DEPTH);
        else if constexpr (FORM == BS__GEMM_PLAIN)
            tile_along_across<WIDTH>(sum, tile_a, A_STRIDE, tile_b, B_STRIDE, GEMM_DEPTH);
        else
            tile_across_across<HEIGHT, WIDTH>(sum, tile_a, A_STRIDE, tile_b, B_STRIDE, GEMM_DEPTH);
    }
    BS_UNROLL for (int i = 0; i < ROWS; i++) BS_UNROLL for (int j = 0; j < COLUMNS; j++)
        gemm_store<T>(a, top + (a_along ? tile_row(i) : tile_row_across(i)),
                      left + (b_along ? tile_column(j) : tile_column_across(j)), sum[i][j]);
}

#define GEMM_SIMT(type, T)                                                                                   \
    BS_KERNEL_OF(gemm_linear_128_##type, TILE_THREADS, 3, (gemm_simt<T, BS__GEMM_LINEAR, 8, 8>),             \
                 bs__gemm_arguments)                                                                         \
    BS_KERNEL_OF(gemm_plain_128_##type, TILE_THREADS, 3, (gemm_simt<T, BS__GEMM_PLAIN, 8, 8>),               \
                 bs__gemm_arguments)                                                                         \
    BS_KERNEL_OF(gemm_outer_128_##type, TILE_THREADS, 3, (gemm_simt<T, BS__GEMM_OUTER, 8, 8>),               \
                 bs__gemm_arguments)                                                                         \
    BS_KERNEL_OF(gemm_linear_64_##type, TILE_THREADS, 4, (gemm_simt<T, BS__GEMM_LINEAR, 4, 4>),              \
                 bs__gemm_arguments)                                                                         \
    BS_KERNEL_OF(gemm_plain_64_##type, TILE_THREADS, 4, (gemm_simt<T, BS__GEMM_PLAIN, 4, 4>),                \
                 bs__gemm_arguments)                                                                         \
    BS_KERNEL_OF(gemm_outer_64_##type, TILE_THREADS, 4, (gemm_simt<T, BS__GEMM_OUTER, 4, 4>),                \
                 bs__gemm_arguments)
GEMM_SIMT(f32, bs_f32)
GEMM_SIMT(bf16, bs_bf16)
