// Softmax cross-entropy and its gradient, a warp a row of logits.
//
// loss = log(sum_j exp(x_j - max)) - (x_label - max), p = exp(x - max) / sum. The row is read three
// times, the second and third from the cache where it fits: 4 bytes read and 4 written a float32 logit.
// The gradient (p - one_hot(label)) g: a thread a column, 8 bytes.
#include "common.cuh"

// Blocks of 32 x 8: threadIdx.y is the row's number in the block.
template <typename T, typename I>
__global__ void __launch_bounds__(THREADS, 1)
    softmax_cross_entropy(const T* __restrict__ x, const I* __restrict__ labels, T* __restrict__ loss,
                          T* __restrict__ p, long long rows, int classes) {
    const long long row = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (row >= rows) return;  // whole warps
    const T* logits = x + row * classes;
    T top = logits[min(static_cast<int>(threadIdx.x), classes - 1)];
    for (int i = threadIdx.x + WARP; i < classes; i += WARP) {
        const T here = logits[i];
        top = top < here || here != here ? here : top;
    }
    top = warp_max(top);
    T total = 0;
    for (int i = threadIdx.x; i < classes; i += WARP) total += exp(logits[i] - top);
    total = warp_sum(total);
    for (int i = threadIdx.x; i < classes; i += WARP) p[row * classes + i] = exp(logits[i] - top) / total;
    if (threadIdx.x == 0) {
        const I label = labels[row];
        const bool valid = label >= 0 && label < classes;
        loss[row] = valid ? log(total) - (logits[valid ? label : 0] - top) : static_cast<T>(__int_as_float(0x7FC00000));
    }
}

template <typename T, typename I>
__global__ void __launch_bounds__(THREADS, 1)
    softmax_cross_entropy_grad(const T* __restrict__ g, const T* __restrict__ p,
                               const I* __restrict__ labels, T* __restrict__ dx, long long rows,
                               int classes) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= classes) return;
    long long row = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y;
    for (; row < rows; row += static_cast<long long>(gridDim.y) * blockDim.y) {
        const T chosen = labels[row] == column ? T(1) : T(0);
        dx[row * classes + column] = (p[row * classes + column] - chosen) * g[row];
    }
}
