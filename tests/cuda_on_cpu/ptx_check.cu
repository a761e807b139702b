// One warp calls each function of ptx.cuh once; test_ptx.py compares what it computes with NumPy, on
// the CPU and, where there is one, on a card.
#include "ptx.cuh"

// y = a b^T (16 x 8) with a (16 x 16) and b (8 x 16) of T, both through cp.async and ldmatrix.
template <typename T>
__global__ void __launch_bounds__(32) product(const T* __restrict__ a, const T* __restrict__ b,
                                              float* __restrict__ y) {
    DYNAMIC_SHARED(T, rows);  // a, then b, 16 elements a row
    const int lane = threadIdx.x;
    cp_async_16(rows + lane * 8, a + lane * 8, true);
    cp_async_commit();
    const bool ok = lane < 16;
    cp_async_16(rows + 256 + lane * 8, ok ? b + lane * 8 : b, ok);
    cp_async_commit();
    cp_async_wait<1>();
    __syncwarp();
    unsigned of_a[4], of_b[4];
    ldmatrix_x4(of_a, rows + (lane % 16) * 16 + lane / 16 * 8);
    cp_async_wait<0>();
    __syncwarp();
    ldmatrix_x4(of_b, rows + 256 + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8);
    float c[4] = {1, 1, 1, 1};
    mma_16816<T>(c, of_a, of_b[0], of_b[1]);
    for (int i = 0; i < 4; i++) y[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = c[i];
}

// y = x^T for the four 8 x 8 matrices of x (32 x 8), of 16 bits.
__global__ void __launch_bounds__(32) transposed(const unsigned short* __restrict__ x,
                                                 unsigned short* __restrict__ y) {
    DYNAMIC_SHARED(unsigned short, rows);
    const int lane = threadIdx.x;
    cp_async_16(rows + lane * 8, x + lane * 8, true);
    cp_async_commit();
    cp_async_wait<0>();
    __syncwarp();
    unsigned loaded[4];
    ldmatrix_x4_trans(loaded, rows + lane * 8);
    for (int i = 0; i < 4; i++) {
        unsigned short* out = y + i * 64 + lane / 4 * 8 + lane % 4 * 2;
        out[0] = static_cast<unsigned short>(loaded[i]);
        out[1] = static_cast<unsigned short>(loaded[i] >> 16);
    }
}

// y = a b^T (16 x 8) in tf32 with a (16 x 8) and b (8 x 8) in float32, through 4-byte copies.
__global__ void __launch_bounds__(32) product_tf32(const float* __restrict__ a,
                                                   const float* __restrict__ b,
                                                   float* __restrict__ y) {
    DYNAMIC_SHARED(float, rows);
    const int lane = threadIdx.x;
    for (int i = lane; i < 192; i += 32) {
        cp_async_4(rows + i, i < 128 ? a + i : b + i - 128, i != 191);  // the last is left out: 0
    }
    cp_async_commit();
    cp_async_wait<0>();
    __syncwarp();
    const int row = lane / 4, k = lane % 4;
    const unsigned of_a[4] = {
        round_to_tf32(rows[row * 8 + k]), round_to_tf32(rows[(row + 8) * 8 + k]),
        round_to_tf32(rows[row * 8 + k + 4]), round_to_tf32(rows[(row + 8) * 8 + k + 4])};
    float c[4] = {0, 0, 0, 0};
    mma_1688_tf32(c, of_a, round_to_tf32(rows[128 + row * 8 + k]),
                  round_to_tf32(rows[128 + row * 8 + k + 4]));
    for (int i = 0; i < 4; i++) y[(row + i / 2 * 8) * 8 + k * 2 + i % 2] = c[i];
}
