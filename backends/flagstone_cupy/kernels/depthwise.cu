// Convolution with one filter a channel, its input gradient and its weight gradient.
//
//   depthwise               y[row, c] = bias[c] + sum over tap of x[at(row, tap), c] * w[c, tap]
//   depthwise_weight_grad   w[c, tap] = sum over row of y[row, c] * x[at(row, tap), c]
//
// The input gradient is the first with x and y exchanged, phase by phase (window.cuh). There are two
// operations for each byte at best, so all that counts is that device memory is read once and in
// whole sectors: neighbouring lanes have neighbouring channels, and the taps of one row find in the
// L1 cache what those before have read.
#include "tap.cuh"

constexpr int DEPTHWISE_THREADS = 256;
constexpr int DEPTHWISE_ROWS = 8;  // of a thread
constexpr int DEPTHWISE_TAPS = 9;  // of the weight gradient that a block adds up; more take more blocks

template <bool PHASED>
__device__ __forceinline__ void list_taps(Tap* taps, const Rows<PHASED>& rows, int first, int count) {
    for (int i = threadIdx.x; i < count; i += DEPTHWISE_THREADS) {
        const Cursor<PHASED> cursor(rows, first + i);
        taps[i] = {{cursor.at[0], cursor.at[1], cursor.at[2]}, cursor.source};
    }
}

// A block has `lanes` * VEC channels and DEPTHWISE_ROWS * 256 / lanes rows. Shared memory: the taps,
// then their weights as [tap][channel].
template <typename T, typename S, int VEC>
__global__ void __launch_bounds__(DEPTHWISE_THREADS, 3)
depthwise(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
          T* __restrict__ y, const __grid_constant__ Product p, int lanes) {
    DYNAMIC_SHARED(unsigned char, shared);
    const int width = lanes * VEC, lines = DEPTHWISE_THREADS / lanes;
    const Place at(p, lines * DEPTHWISE_ROWS, width, p.most_rows, p.x_row);
    const Rows<true> rows(p, at.phase);
    const int count = rows.count(), depth = rows.depth();
    if (at.row >= count) return;
    Tap* taps = reinterpret_cast<Tap*>(shared);
    S* weights = reinterpret_cast<S*>(taps + depth);
    list_taps(taps, rows, 0, depth);
    for (int i = threadIdx.x; i < depth * width; i += DEPTHWISE_THREADS) {
        const int channel = at.column + i % width;
        const Cursor<true> cursor(rows, i / width);
        weights[i] = channel < p.x_row ? wide(w[channel * p.w_row + cursor.weight]) : S(0);
    }
    __syncthreads();
    const int lane = threadIdx.x % lanes * VEC, channel = at.column + lane;
    if (channel >= p.x_row) return;
    for (int i = 0; i < DEPTHWISE_ROWS; i++) {
        const int row = at.row + threadIdx.x / lanes + i * lines;
        if (row >= count) return;
        S sum[VEC] = {};
        Window<T> window;
        window.move(rows, x + channel, row);
        for (int t = 0; t < depth; t++) {
            if (!window.sees(p, taps[t].at)) continue;
            const auto left = *reinterpret_cast<const Vector<T, VEC>*>(window.base + taps[t].source);
            const auto right = *reinterpret_cast<const Vector<S, VEC>*>(weights + t * width + lane);
#pragma unroll
            for (int v = 0; v < VEC; v++) sum[v] += wide(left.at[v]) * right.at[v];
        }
#pragma unroll
        for (int v = 0; v < VEC; v++) {
            if (bias) sum[v] += wide(bias[channel + v]);
            sum[v] = activate(sum[v], p.activation);
        }
        write(y + rows.place(row) * p.y_row + channel, sum, VEC, true);
    }
}

// A block has 32 channels, DEPTHWISE_TAPS taps and one split's rows, of which each of its eight warps
// takes every eighth; their sums meet in shared memory in the warps' order. `bias_slices`, unless
// null, gets the sums of y: the bias gradient.
template <typename T, typename S>
__global__ void __launch_bounds__(DEPTHWISE_THREADS, 2)
depthwise_weight_grad(const T* __restrict__ y, const T* __restrict__ x, S* __restrict__ slices,
                      S* __restrict__ bias_slices, const __grid_constant__ Product p) {
    constexpr int WARPS = DEPTHWISE_THREADS / 32;
    __shared__ Tap taps[DEPTHWISE_TAPS];
    __shared__ S parts[WARPS][32];
    const Rows<false> rows(p, 0);
    const int depth = rows.depth();
    const Place at(p, DEPTHWISE_TAPS, 32, depth, p.x_row);
    const int count = min(DEPTHWISE_TAPS, depth - at.row);
    list_taps(taps, rows, at.row, count);
    __syncthreads();
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, channel = at.column + lane;
    const int begin = at.split * p.steps, end = min(rows.count(), begin + p.steps);
    S sum[DEPTHWISE_TAPS + 1] = {};  // the last is the bias
    for (int row = begin + warp; row < end && channel < p.x_row; row += WARPS) {
        const S gradient = wide(y[static_cast<long long>(row) * p.y_row + channel]);
        Window<T> window;
        window.move(rows, x + channel, row);
#pragma unroll
        for (int t = 0; t < DEPTHWISE_TAPS; t++)
            if (t < count && window.sees(p, taps[t].at))
                sum[t] += gradient * wide(window.base[taps[t].source]);
        sum[DEPTHWISE_TAPS] += gradient;
    }
#pragma unroll
    for (int t = 0; t <= DEPTHWISE_TAPS; t++) {
        __syncthreads();  // the sums of the tap before are read
        parts[warp][lane] = sum[t];
        __syncthreads();
        if (warp || channel >= p.x_row) continue;
        S all = 0;
        for (int i = 0; i < WARPS; i++) all += parts[i][lane];
        if (t < count)
            slices[at.split * p.y_slice + static_cast<long long>(channel) * p.w_row + at.row + t] = all;
        if (t == DEPTHWISE_TAPS && bias_slices && at.row == 0)
            bias_slices[at.split * static_cast<long long>(p.x_row) + channel] = all;
    }
}
