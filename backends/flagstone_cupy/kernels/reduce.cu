// Sums, the same bits every time: (outer, n, inner) -> (outer, splits, inner), and again until one is
// left. How n is split comes from the shape alone, and every split is added up in a fixed order.
//
// sum_rows (inner = 1): a row of threads adds up one split of one row, a warp's loads contiguous.
// sum_columns: a thread along x for each of the inner values; threads along y share the rows of a split.
// Traffic: x once; the partial sums are at most a 64th of it.
#include "common.cuh"
#include "half.cuh"

// A value as what it is added up in.
template <typename A, typename T>
__device__ __forceinline__ A as(T x) {
    return static_cast<A>(x);
}
template <>
__device__ __forceinline__ float as<float, __half>(__half x) {
    return wide(x);
}
template <>
__device__ __forceinline__ float as<float, __nv_bfloat16>(__nv_bfloat16 x) {
    return wide(x);
}

template <typename T>
struct Plain {
    static __device__ T of(T x) { return x; }
};

template <typename T>
struct Square {
    static __device__ T of(T x) { return x * x; }
};

// out[row, split] = sum of F(x[row, i]) over the split's i, in A.
template <typename T, typename A, template <typename> class F>
__global__ void __launch_bounds__(THREADS, 1)
    sum_rows(const T* __restrict__ x, A* __restrict__ out, long long rows, long long n, int splits) {
    const long long each = (n + splits - 1) / splits;
    const long long from = blockIdx.x * each, to = min(from + each, n);
    const long long step = static_cast<long long>(gridDim.y) * blockDim.y;
    for (long long top = static_cast<long long>(blockIdx.y) * blockDim.y; top < rows; top += step) {
        const long long row = top + threadIdx.y;  // past the end for some in the last round
        A total = 0;
        if (row < rows)
            for (long long i = from + threadIdx.x; i < to; i += blockDim.x)
                total += F<A>::of(as<A>(x[row * n + i]));
        total = row_sum(total);
        if (row < rows && threadIdx.x == 0) out[row * splits + blockIdx.x] = total;
    }
}

// out[o, split, i] = sum of x[o, r, i] over the split's r, in A.
template <typename T, typename A>
__global__ void __launch_bounds__(THREADS, 1)
    sum_columns(const T* __restrict__ x, A* __restrict__ out, long long outer, long long n,
                long long inner, int splits) {
    __shared__ A partial[THREADS];
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const long long each = (n + splits - 1) / splits;
    const long long from = blockIdx.y * each, to = min(from + each, n);
    for (long long o = blockIdx.z; o < outer; o += gridDim.z) {
        A total = 0;
        if (i < inner)
            for (long long r = from + threadIdx.y; r < to; r += blockDim.y)
                total += as<A>(x[(o * n + r) * inner + i]);
        partial[threadIdx.y * blockDim.x + threadIdx.x] = total;
        __syncthreads();
        if (threadIdx.y == 0 && i < inner) {
            for (int y = 1; y < static_cast<int>(blockDim.y); y++)
                total += partial[y * blockDim.x + threadIdx.x];
            out[(o * splits + blockIdx.y) * inner + i] = total;
        }
        __syncthreads();  // before the next round writes
    }
}

// out = sqrt of the sum of x; one block.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1) root_of_sum(const T* __restrict__ x, T* __restrict__ out, int n) {
    T total = 0;
    for (int i = threadIdx.x; i < n; i += THREADS) total += x[i];
    total = row_sum(total);
    if (threadIdx.x == 0) *out = sqrt(total);
}
