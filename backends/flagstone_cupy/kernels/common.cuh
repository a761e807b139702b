// What most kernels need: how big a block is, which thread this is, and sums over a warp or a block.
#ifndef FLAGSTONE_COMMON_CUH
#define FLAGSTONE_COMMON_CUH

constexpr int THREADS = 256;  // of a block, unless a kernel says otherwise; launch.py has the same
constexpr int EACH = 4;       // values a thread of an elementwise kernel takes, a block apart
constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xFFFFFFFFu;

// The first of the EACH values that this thread takes; the next is THREADS further.
__device__ __forceinline__ long long first_value() {
    return static_cast<long long>(blockIdx.x) * (THREADS * EACH) + threadIdx.x;
}

// The sum over the lanes of a warp, the same bits in each.
template <typename T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

template <typename T>
__device__ __forceinline__ T warp_max(T x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        const T other = __shfl_xor_sync(ALL_LANES, x, step);
        x = x < other || other != other ? other : x;  // NaN wins
    }
    return x;
}

// The sum over the threads of one row (threadIdx.y) of a block whose rows are whole warps, the same bits
// in each: by warps, then over the warps in their order. All threads of the block must call it.
template <typename T>
__device__ __forceinline__ T row_sum(T x) {
    __shared__ T of_warp[WARP];
    const int warps = blockDim.x / WARP, first = threadIdx.y * warps;
    x = warp_sum(x);
    __syncthreads();  // what an earlier call left was read
    if (threadIdx.x % WARP == 0) of_warp[first + threadIdx.x / WARP] = x;
    __syncthreads();
    T total = of_warp[first];
    for (int i = 1; i < warps; i++) total += of_warp[first + i];
    return total;
}

#endif
