// Convolution of images with few channels, the first layer, and its weight gradient.
//
//   conv_narrow               y[row, k] = bias[k] + sum over (tap, c) of x[at(row, tap), c] * w[k, tap, c]
//   conv_narrow_weight_grad   w[k, tap, c] = sum over row of y[row, k] * x[at(row, tap), c]
//
// The sum is short, 4 to 150 values, and the output is most of the traffic. So nothing is staged but the
// weights, which lie in shared memory as [tap, c][k]. A thread has 4 neighbouring output channels
// of ROWS rows; values of x come from the L1 cache, where lanes of the same rows share them.
//
// Traffic: x and w once from device memory, y once to it. Shared memory: taps * c * columns values.
#include "tap.cuh"

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
        weights[i] = k < p.columns ? wide(w[k * p.w_row + index]) : S(0);
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
                const S value = seen[i] ? wide(windows[i].base[cursor.source + c]) : S(0);
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

// A thread has 4 neighbouring output channels and all of w's (tap, c), of which there are no more than
// NARROW_DEPTH; a block has all channels and one split's rows, whose sums meet in shared memory in the
// order of the threads' lines. Traffic: y and x once. `bias_slices`, unless null, gets the sums of y.
constexpr int NARROW_DEPTH = 12;
constexpr int NARROW_PAIR = 2;  // rows that a thread looks at together

template <typename T, typename S>
__global__ void __launch_bounds__(NARROW_THREADS, sizeof(S) == 8 ? 1 : 2)
conv_narrow_weight_grad(const T* __restrict__ y, const T* __restrict__ x, S* __restrict__ slices,
                        S* __restrict__ bias_slices, const __grid_constant__ Product p) {
    __shared__ Tap taps[NARROW_DEPTH];
    __shared__ S parts[NARROW_THREADS * 4];
    const Rows<false> rows(p, 0);
    const int depth = rows.depth(), split = blockIdx.x;
    const int fours = (p.columns + 3) / 4, lines = NARROW_THREADS / fours, width = fours * 4;
    const int column = threadIdx.x % fours * 4, line = threadIdx.x / fours;
    if (threadIdx.x < depth) {
        const Cursor<false> cursor(rows, threadIdx.x);
        taps[threadIdx.x] = {{cursor.at[0], cursor.at[1], cursor.at[2]}, cursor.source};
    }
    __syncthreads();
    S sum[NARROW_DEPTH + 1][4] = {};  // the last is the bias
    const int begin = split * p.steps, end = min(rows.count(), begin + p.steps);
    for (int row = begin + line; row < end && line < lines; row += NARROW_PAIR * lines) {
        __threadfence_block();  // or the compiler keeps all of taps in registers
        S gradient[NARROW_PAIR][4];
        Window<T> windows[NARROW_PAIR];
#pragma unroll
        for (int r = 0; r < NARROW_PAIR; r++) {
            const int here = row + r * lines;
            const T* from = y + static_cast<long long>(here) * p.y_row + column;
            windows[r].move(rows, x, here);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                gradient[r][j] = here < end && column + j < p.columns ? wide(from[j]) : S(0);
                sum[NARROW_DEPTH][j] += gradient[r][j];
            }
        }
#pragma unroll
        for (int i = 0; i < NARROW_DEPTH; i++) {
            if (i >= depth) continue;
#pragma unroll
            for (int r = 0; r < NARROW_PAIR; r++) {
                const bool seen = row + r * lines < end && windows[r].sees(p, taps[i].at);
                const S value = seen ? wide(windows[r].base[taps[i].source]) : S(0);
#pragma unroll
                for (int j = 0; j < 4; j++) sum[i][j] += value * gradient[r][j];
            }
        }
    }
#pragma unroll
    for (int i = 0; i <= NARROW_DEPTH; i++) {
        if (i >= depth && i < NARROW_DEPTH) continue;
        __syncthreads();  // the sums before are read
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (line < lines) parts[line * width + column + j] = sum[i][j];
        __syncthreads();
        for (int k = threadIdx.x; k < p.columns; k += NARROW_THREADS) {
            S all = 0;
            for (int l = 0; l < lines; l++) all += parts[l * width + k];
            if (i < NARROW_DEPTH)
                slices[split * p.y_slice + k * p.w_row + i] = all;
            else if (bias_slices)
                bias_slices[split * p.columns + k] = all;
        }
    }
}
