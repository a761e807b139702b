// Activations and their gradients, and sums of rows and a bias, one value a thread.
//
// Traffic: what is read and written once, 8 bytes a float32 value for the forward functions
// and 12 for the gradients; the arithmetic is hidden behind it.
#include "common.cuh"

// y = max(x, 0); NaN stays.
template <typename T>
__global__ void __launch_bounds__(THREADS) relu(const T* __restrict__ x, T* __restrict__ y, long long n) {
    const long long i = thread_number();
    if (i < n) y[i] = x[i] < T(0) ? T(0) : x[i];
}
