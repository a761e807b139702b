// Convolution of images with few channels: the first layer.
//
//   y[row, k] = bias[k] + sum over (tap, c) of x[at(row, tap), c] * w[k, tap, c]
//
// The sum is short, 4 to 150 values, and the output is most of the traffic. So nothing is staged but the
// weights, which lie in shared memory as [tap, c][k]. A thread has 4 neighbouring output channels
// of ROWS rows; values of x come from the L1 cache, where lanes of the same rows share them.
//
// Traffic: x and w once from device memory, y once to it. Shared memory: taps * c * columns values.
#include "window.cuh"

constexpr int NARROW_THREADS = 256;
constexpr int NARROW_ROWS = 4;  // of a thread

template <typename T, typename S>
__global__ void __launch_bounds__(NARROW_THREADS, 2)
conv_narrow(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
            T* __restrict__ y, const __grid_constant__ Product p) {
    DYNAMIC_SHARED(S, weights);
    const Rows<false> rows(p, 0);
    const int depth = rows.depth(), count = rows.count();
    const int fours = (p.columns + 3) / 4, lines = NARROW_THREADS / fours, width = fours * 4;
    for (int i = threadIdx.x; i < depth * width; i += NARROW_THREADS) {
        const int k = i % width, index = i / width;
        weights[i] = k < p.columns ? widen(w[k * p.w_row + index]) : S(0);
    }
    __syncthreads();
    const int column = threadIdx.x % fours * 4, line = threadIdx.x / fours;
    if (line >= lines) return;
    const int first = blockIdx.x * (lines * NARROW_ROWS) + line;

    S sum[NARROW_ROWS][4] = {};
    Window<T> windows[NARROW_ROWS];
#pragma unroll
    for (int i = 0; i < NARROW_ROWS; i++) windows[i].move(rows, x, first + i * lines);
    Cursor<false> cursor(rows, 0);
    for (int index = 0; index < depth; index += p.channels) {
        bool seen[NARROW_ROWS];
#pragma unroll
        for (int i = 0; i < NARROW_ROWS; i++) seen[i] = windows[i].sees(p, cursor.at);
        for (int c = 0; c < p.channels; c++) {
            const S* at = weights + (index + c) * width + column;
            const auto right = *reinterpret_cast<const Vector<S, 4>*>(at);
#pragma unroll
            for (int i = 0; i < NARROW_ROWS; i++) {
                const S value = seen[i] ? widen(windows[i].base[cursor.source + c]) : S(0);
#pragma unroll
                for (int j = 0; j < 4; j++) sum[i][j] += value * right.at[j];
            }
        }
        cursor.advance(rows, p.channels);
    }
#pragma unroll
    for (int i = 0; i < NARROW_ROWS; i++) {
        const int row = first + i * lines;
        S* const slices = nullptr;
        if (row < count) finish(p, 0, 0, row, column, sum[i], y, slices, bias);
    }
}
