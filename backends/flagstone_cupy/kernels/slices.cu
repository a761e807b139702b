// Adding up the slices of a sum that was split over blocks.
//
//   y[i] = activation(bias[i % columns] + slices[0, i] + slices[1, i] + ...)
//
// One thread a value adds them in their order, so the result does not depend on which block was done
// first. Traffic: every slice is read and y written once.
#include "window.cuh"

template <typename T, typename S>
__global__ void __launch_bounds__(256)
add_slices(const S* __restrict__ slices, const T* __restrict__ bias, T* __restrict__ y, int splits,
           long long size, int columns, int activation) {
    const long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
    if (i >= size) return;
    S sum = 0;
    for (int s = 0; s < splits; s++) sum += slices[s * size + i];
    if (bias) sum += wide(bias[i % columns]);
    y[i] = rounded<T>(activate(sum, activation));
}
