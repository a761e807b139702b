// Whether gradients are finite, and the scale of the loss, all on the device.
//
// unfinite: a row of threads a split looks through n values, 4 bytes each, and counts. Then one thread
// has the factor; another launch of one thread adapts the scale. undo reads one number in a step that
// did not overflow, else 12 bytes a value.
#include "common.cuh"

// counts[block] = how many of the block's values are infinite or NaN.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    unfinite(const T* __restrict__ g, int* __restrict__ counts, long long n) {
    int count = 0;
    const long long step = static_cast<long long>(gridDim.x) * THREADS;
    for (long long i = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x; i < n; i += step)
        count += g[i] - g[i] == T(0) ? 0 : 1;
    count = row_sum(count);
    if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

// factor = scale / loss_scale, or NaN if a count is not 0. One block.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    gradient_factor(const int* __restrict__ counts, const T* __restrict__ scale,
                    const T* __restrict__ loss_scale, T* __restrict__ factor, int blocks) {
    int count = 0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) count += counts[i] != 0;
    count = row_sum(count);
    if (threadIdx.x == 0)
        *factor = count ? static_cast<T>(__int_as_float(0x7FC00000)) : *scale / *loss_scale;
}

// Where factor is NaN, loss_scale *= backoff; where `interval` steps in a row had none, *= growth, unless
// that is infinite. steps counts them. One thread.
template <typename T>
__global__ void adapt_loss_scale(T* __restrict__ loss_scale, T* __restrict__ steps,
                                 const T* __restrict__ factor, T growth, T backoff, T interval) {
    const T scale = *loss_scale, grown = scale * growth, count = *steps + T(1);
    if (*factor != *factor) {
        *loss_scale = scale * backoff;
        *steps = T(0);
    } else if (count >= interval) {
        if (grown - grown == T(0)) *loss_scale = grown;
        *steps = T(0);
    } else {
        *steps = count;
    }
}

// out = before where factor is NaN.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    undo(T* __restrict__ out, const T* __restrict__ before, const T* __restrict__ factor, long long n) {
    if (*factor == *factor) return;
    const long long first = first_value();
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        const long long i = first + j * THREADS;
        if (i < n) out[i] = before[i];
    }
}
