// Convolution, its gradients and matrix products on the ordinary arithmetic units: exact float32 on
// every card, the reference that other kernels are held to. window.cuh says what lies where.
//
//   conv_forward        Y[m, n] = sum over k of X[m, k] * W[n, k]     also A @ B.T
//   conv_input_grad     Y[m, n] = sum over k of X[m, k] * W[k, n]     also A @ B
//   conv_weight_grad    W[n, k] = sum over m of Y[m, n] * X[m, k]     also A.T @ B
//
// m runs over positions, k over (tap, channel). X, the im2col matrix, is never written: its rows are
// gathered from the images as they are read.
//
// Tile: BM x BN results a block, TM x TN a thread. It reads (BM + BN) * K values for BM * BN * K
// multiply-adds, 128 x 64 of float32 thus 11 multiply-adds for each byte from the L2 cache; device
// memory sees each operand about once. A sum that is split leaves its parts in slices, of splits *
// rows * columns values, which add_slices (slices.cu) adds in their order.
//
// VEC values are read at once; 4 where channels, columns and addresses are multiples of 4.
#include "simt.cuh"

// Y = X times the weights, which Right reads.
template <typename T, typename S, int BM, int BN, int TM, int TN, int VEC, bool PHASED, typename Right>
__device__ __forceinline__ void gather(const T* x, const T* w, const T* bias, T* y, S* slices,
                                       const Product& p) {
    DYNAMIC_SHARED(S, shared);
    const Place at(p, BM, BN, p.most_rows, p.columns);
    const Rows<PHASED> rows(p, PHASED ? at.phase : 0);
    if (PHASED && at.row >= rows.count()) return;
    const int depth = rows.depth();
    int index = at.split * p.steps * DEPTH;
    const int steps = min((depth - index + DEPTH - 1) / DEPTH, p.steps);

    Field<S, BM, BN, TM, TN> field;
    x += at.group * p.x_group, w += at.group * p.w_group;
    WindowRows<T, Staging<T, BM, simt_threads(BM, BN, TM, TN), VEC, true>, PHASED> left(rows, x, at.row);
    Right right(rows, w, at.column);
    Cursor<PHASED> cursor(rows, index + left.staging.chunk());
    field.add(
        steps, shared,
        [&] {
            left.fetch(rows, cursor, index, depth);
            right.fetch(rows, cursor, index, depth);
            cursor.advance(rows, DEPTH);
            index += DEPTH;
        },
        [&](S* a, S* b) {
            left.staging.store(a);
            right.staging.store(b);
        },
        [](const S*) {});
    finish_all(rows, at, field, y, slices, bias);
}

template <typename T, typename S, int BM, int BN, int TM, int TN, int VEC>
__global__ void __launch_bounds__(simt_threads(BM, BN, TM, TN),
                                  simt_blocks(TM * TN, VEC, sizeof(S)))
conv_forward(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
             T* __restrict__ y, S* __restrict__ slices, const __grid_constant__ Product p) {
    constexpr int THREADS = simt_threads(BM, BN, TM, TN);
    using Right = WeightRows<T, Staging<T, BN, THREADS, VEC, true>, false>;
    gather<T, S, BM, BN, TM, TN, VEC, false, Right>(x, w, bias, y, slices, p);
}

template <typename T, typename S, int BM, int BN, int TM, int TN, int VEC, bool PHASED>
__global__ void __launch_bounds__(simt_threads(BM, BN, TM, TN),
                                  simt_blocks(TM * TN, VEC, sizeof(S)))
conv_input_grad(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
                T* __restrict__ y, S* __restrict__ slices, const __grid_constant__ Product p) {
    constexpr int THREADS = simt_threads(BM, BN, TM, TN);
    using Right = WeightColumns<T, Staging<T, BN, THREADS, VEC, false>, PHASED>;
    gather<T, S, BM, BN, TM, TN, VEC, PHASED, Right>(x, w, bias, y, slices, p);
}

// `bias_slices`, unless null, gets the sums of y over each slice's rows: the bias gradient.
template <typename T, typename S, int BM, int BN, int TM, int TN, int VECY, int VECX>
__global__ void __launch_bounds__(simt_threads(BM, BN, TM, TN),
                                  simt_blocks(TM * TN, VECX, sizeof(S)))
conv_weight_grad(const T* __restrict__ y, const T* __restrict__ x, S* __restrict__ slices,
                 S* __restrict__ bias_slices, const __grid_constant__ Product p) {
    constexpr int THREADS = simt_threads(BM, BN, TM, TN);
    DYNAMIC_SHARED(S, shared);
    const Rows<false> rows(p, 0);
    const int width = rows.depth();
    const Place at(p, BM, BN, p.columns, width);
    int row = at.split * p.steps * DEPTH;
    const int end = min(rows.count(), row + p.steps * DEPTH);

    Field<S, BM, BN, TM, TN> field;
    S bias_sum = 0;
    x += at.group * p.x_group, y += at.group * p.y_group;
    GradientColumns<T, Staging<T, BM, THREADS, VECY, false>> left(p, y, at.row);
    WindowColumns<T, Staging<T, BN, THREADS, VECX, false>> right(rows, x, at.column);
    const bool adds_bias = bias_slices && at.column == 0 && threadIdx.x < BM;
    field.add(
        (end - row + DEPTH - 1) / DEPTH, shared,
        [&] {
            left.fetch(p, row, end);
            right.fetch(rows, row, end);
            row += DEPTH;
        },
        [&](S* a, S* b) {
            left.staging.store(a);
            right.staging.store(b);
        },
        [&](const S* a) {
            if (!adds_bias) return;
#pragma unroll
            for (int k = 0; k < DEPTH; k++) bias_sum += a[k * field.A + threadIdx.x];
        });

    slices += at.split * p.y_slice + at.group * p.w_group;
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const int k = at.row + field.row_of(i);
        if (k >= p.columns) continue;
#pragma unroll
        for (int j = 0; j < TN; j += 4) {
            const S values[4] = {field.sum[i][j], field.sum[i][j + 1], field.sum[i][j + 2],
                                 field.sum[i][j + 3]};
            const int column = at.column + field.column_of(j);
            if (column < width)
                write(slices + static_cast<long long>(k) * p.w_row + column, values, width - column,
                      p.aligned);
        }
    }
    if (adds_bias && at.row + static_cast<int>(threadIdx.x) < p.columns)
        bias_slices[(at.split * p.groups + at.group) * static_cast<long long>(p.columns) + at.row +
                    threadIdx.x] = bias_sum;
}
