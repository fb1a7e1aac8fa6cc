// Products of half elements on tensor cores (gemm.h). A block of eight warps makes 128 x 128 of y, one of four 64 x 64 where that
// leaves multiprocessors without work. 32 of the depth lie in shared memory, three times: one part is multiplied, two are on
// their way. A warp has 64 x 32 sums (32 x 32) and loads six (four) times for sixteen (eight) products of 16 x 8 x 16.
#include "kernels/cuda/fragment.cuh"
#include "kernels/cuda/gemm.cuh"

#define GEMM_HALF_DEPTH 32
#define GEMM_PARTS      3

// As gemm_copy of gemm.cu.
template <class T, bool along, int LENGTH, int THREADS>
BS_DEVICE void gemm_half_copy(bs_shared<T> to, bs_global<const T> from, int64_t stride, int64_t first,
                              int64_t length, int64_t k, int64_t depth, bool vectors)
{
    constexpr int WIDTH = along ? GEMM_HALF_DEPTH : LENGTH;
    const int64_t row_from = along ? first : k, rows = along ? length : depth;
    const int64_t column_from = along ? k : first, columns = along ? depth : length;
    for (int i = (int)threadIdx.x; i < GEMM_HALF_DEPTH * LENGTH / 8; i += THREADS) {
        const int r = i / (WIDTH / 8), c = i % (WIDTH / 8) * 8;
        const int64_t row = row_from + r, column = column_from + c, left = columns - column;
        const int count = row >= rows || left <= 0 ? 0 : left < 8 ? (int)left : 8;
        fragment_copy8(to, r * (WIDTH + 8) + c, from, count ? row * stride + column : 0, count, vectors);
    }
}

// Warps stand as 2 x WARPS_X; each has 16 TALL rows and 8 WIDE columns.
template <class T, bs__gemm_form FORM, int WARPS_X, int TALL, int WIDE>
BS_DEVICE void gemm_tensor(const bs__gemm_arguments &a)
{
    constexpr bool a_along = FORM != BS__GEMM_OUTER, b_along = FORM == BS__GEMM_LINEAR;
    constexpr int THREADS = 64 * WARPS_X, HEIGHT = 32 * TALL, WIDTH = 8 * WIDE * WARPS_X,
                  DEPTH = GEMM_HALF_DEPTH;
    constexpr int A_STRIDE = (a_along ? DEPTH : HEIGHT) + 8, B_STRIDE = (b_along ? DEPTH : WIDTH) + 8;
    constexpr int A_SIZE = (a_along ? HEIGHT : DEPTH) * A_STRIDE,
                  PART = A_SIZE + (b_along ? WIDTH : DEPTH) * B_STRIDE;
    BS_SHARED_DYNAMIC(T, shared);
    const int64_t top = (int64_t)blockIdx.x / a.column_tiles * HEIGHT,
                  left = (int64_t)blockIdx.x % a.column_tiles * WIDTH;
    const int row = fragment_warp() / WARPS_X * 16 * TALL,
              column = fragment_warp() % WARPS_X * 8 * WIDE; // in the tile
    const bs_global<const T> from_a = bs_at<const T>(a.a), from_b = bs_at<const T>(a.b);

    float sum[TALL][WIDE][4] = {};
    int64_t next = 0; // depth whose copy begins next
    for (int part = 0; part < GEMM_PARTS - 1; part++, next += DEPTH) {
        if (next < a.depth) {
            const bs_shared<T> to = shared + part * PART;
            gemm_half_copy<T, a_along, HEIGHT, THREADS>(to, from_a, a.a_stride, top, a.rows, next, a.depth,
                                                        a.a_vectors);
            gemm_half_copy<T, b_along, WIDTH, THREADS>(to + A_SIZE, from_b, a.b_stride, left, a.columns, next,
                                                       a.depth, a.b_vectors);
        }
        bs_copy_commit();
    }
    int now = 0;
    for (int64_t k = 0; k < a.depth; k += DEPTH, next += DEPTH) {
        bs_copy_wait<GEMM_PARTS - 2>();
        bs_barrier(); // this part is there, and the one before it was read: the next goes there
        if (next < a.depth) {
            const bs_shared<T> to = shared + (now ? now - 1 : GEMM_PARTS - 1) * PART;
            gemm_half_copy<T, a_along, HEIGHT, THREADS>(to, from_a, a.a_stride, top, a.rows, next, a.depth,
                                                        a.a_vectors);
            gemm_half_copy<T, b_along, WIDTH, THREADS>(to + A_SIZE, from_b, a.b_stride, left, a.columns, next,
                                                       a.depth, a.b_vectors);
        }
        bs_copy_commit();
        const bs_shared<T> tile_a = shared + now * PART, tile_b = tile_a + A_SIZE;
        now = now + 1 < GEMM_PARTS ? now + 1 : 0;
        BS_UNROLL for (int step = 0; step < DEPTH; step += 16)
        {
            uint32_t x[TALL][4], w[WIDE / 2][4];
            BS_UNROLL for (int i = 0; i < TALL; i++)
            {
                if constexpr (a_along)
                    fragment_left_along(x[i], tile_a, A_STRIDE, row + 16 * i, step);
                else
                    fragment_left_across(x[i], tile_a, A_STRIDE, row + 16 * i, step);
            }
            BS_UNROLL for (int j = 0; j < WIDE / 2; j++)
            {
                if constexpr (b_along)
                    fragment_right_along(w[j], tile_b, B_STRIDE, column + 16 * j, step);
                else
                    fragment_right_across(w[j], tile_b, B_STRIDE, column + 16 * j, step);
            }
            BS_UNROLL for (int i = 0; i < TALL; i++) BS_UNROLL for (int j = 0; j < WIDE; j++)
                bs_multiply_add<T>(sum[i][j], x[i], w[j / 2][j % 2 * 2], w[j / 2][j % 2 * 2 + 1]);
        }
    }

    const bs_global<T> y = bs_at<T>(a.y);
    BS_UNROLL for (int i = 0; i < TALL; i++) BS_UNROLL for (int half = 0; half < 2; half++)
        BS_UNROLL for (int j = 0; j < WIDE; j++)
    {
        const int64_t r = top + row + 16 * i + 8 * half + fragment_row(),
                      c = left + column + 8 * j + fragment_column();
        const float low = sum[i][j][2 * half], high = sum[i][j][2 * half + 1];
        if (a.pairs && r < a.rows && c + 1 < a.columns)
            bs_store_pair(y, r * a.y_stride + c,
                          bs_pack<T>(gemm_value<T>(a, r, c, low), gemm_value<T>(a, r, c + 1, high)));
        else {
            gemm_store<T>(a, r, c, low);
            gemm_store<T>(a, r, c + 1, high);
        }
    }
}

#define GEMM_TENSOR(form, FORM, type, T)                                                                     \
    BS_KERNEL_OF(gemm_tensor_##form##_128_##type, 256, 1, (gemm_tensor<T, FORM, 4, 4, 4>),                   \
                 bs__gemm_arguments)                                                                         \
    BS_KERNEL_OF(gemm_tensor_##form##_64_##type, 128, 3, (gemm_tensor<T, FORM, 2, 2, 4>), bs__gemm_arguments)
GEMM_TENSOR(linear, BS__GEMM_LINEAR, f16, bs_f16)
GEMM_TENSOR(plain, BS__GEMM_PLAIN, f16, bs_f16)
GEMM_TENSOR(outer, BS__GEMM_OUTER, f16, bs_f16)
GEMM_TENSOR(linear, BS__GEMM_LINEAR, bf16, bs_bf16)
GEMM_TENSOR(plain, BS__GEMM_PLAIN, bf16, bs_bf16)
GEMM_TENSOR(outer, BS__GEMM_OUTER, bf16, bs_bf16)
