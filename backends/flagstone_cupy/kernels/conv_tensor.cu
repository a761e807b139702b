// Convolution, its gradients and matrix products on the tensor cores, for float16, bfloat16 and, as
// tf32, float32; from sm_80 on. window.cuh says what lies where.
//
//   tensor_forward        Y[m, n] = sum over k of X[m, k] * W[n, k]     also A @ B.T
//   tensor_input_grad     Y[m, n] = sum over k of X[m, k] * W[k, n]     also A @ B
//   tensor_weight_grad    W[n, k] = sum over m of Y[m, n] * X[m, k]     also A.T @ B
//
// m runs over positions, k over (tap, channel). X, the im2col matrix, is never written: 16 bytes of
// neighbouring channels at a time are copied from the images to shared memory, zeros where the window
// hangs over an edge. So channels and columns must be multiples of 16 bytes; conv_simt.cu serves the
// others.
//
// Tile: BM x BN results a block of four warps, WM x WN a warp. It reads (BM + BN) * K values for
// BM * BN * K multiply-adds: at 128 x 128 of 16 bits 32 multiply-adds for each byte from the L2 cache,
// and in a warp of 64 x 64 half as many for each byte of shared memory. Split sums leave slices, as in
// conv_simt.cu.
#include "tensor.cuh"

// Y = X times the weights, which Right reads.
template <typename T, int BM, int BN, bool PHASED, class Field, class Right>
__device__ __forceinline__ void gather(const T* x, const T* w, const T* bias, T* y, float* slices,
                                       const Product& p) {
    DYNAMIC_SHARED(unsigned char, shared);
    const Place at(p, BM, BN, p.most_rows, p.columns);
    const Rows<PHASED> rows(p, PHASED ? at.phase : 0);
    const int count = rows.count(), depth = rows.depth();
    if (PHASED && at.row >= count) return;
    int index = at.split * p.steps * Field::DEPTH;
    const int steps = min((depth - index + Field::DEPTH - 1) / Field::DEPTH, p.steps);

    Field field;
    WindowRows<T, typename Field::A, PHASED> left(rows, x + at.group * p.x_group, at.row);
    Right right(rows, w + at.group * p.w_group, at.column);
    left.staging.valid = x, right.staging.valid = w;
    Cursor<PHASED> cursor(rows, index + left.staging.chunk());
    field.add(
        steps, shared,
        [&](unsigned char* a, unsigned char* b) {
            left.staging.to = a, right.staging.to = b;
            left.fetch(rows, cursor, index, depth);
            right.fetch(rows, cursor, index, depth);
            cursor.advance(rows, Field::DEPTH);
            index += Field::DEPTH;
        },
        [](const unsigned char*) {});
    field.each([&](int i, int j, float(&values)[4]) {
        const int row = at.row + i, column = at.column + j;
        if (row < count && column < p.columns)
            finish(p, at.group, at.split, rows.place(row), column, values, y, slices, bias);
    });
}

template <typename T, int BM, int BN, int WM, int WN, int STAGES>
__global__ void __launch_bounds__(128, BM * BN > 8192 ? 2 : BM * BN > 4096 ? 3 : 4)
tensor_forward(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
               T* __restrict__ y, float* __restrict__ slices, const __grid_constant__ Product p) {
    using Field = WarpField<T, BM, BN, WM, WN, STAGES, true, true>;
    using Right = WeightRows<T, typename Field::B, false>;
    gather<T, BM, BN, false, Field, Right>(x, w, bias, y, slices, p);
}

template <typename T, int BM, int BN, int WM, int WN, int STAGES, bool PHASED>
__global__ void __launch_bounds__(128, BM * BN > 4096 ? 2 : 4)
tensor_input_grad(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
                  T* __restrict__ y, float* __restrict__ slices, const __grid_constant__ Product p) {
    using Field = WarpField<T, BM, BN, WM, WN, STAGES, true, false>;
    using Right = WeightColumns<T, typename Field::B, PHASED>;
    gather<T, BM, BN, PHASED, Field, Right>(x, w, bias, y, slices, p);
}

// `bias_slices`, unless null, gets the sums of y over each slice's rows: the bias gradient.
template <typename T, int BM, int BN, int WM, int WN, int STAGES>
__global__ void __launch_bounds__(128, BM * BN > 4096 ? 2 : 4)
tensor_weight_grad(const T* __restrict__ y, const T* __restrict__ x, float* __restrict__ slices,
                   float* __restrict__ bias_slices, const __grid_constant__ Product p) {
    using Field = WarpField<T, BM, BN, WM, WN, STAGES, false, false>;
    DYNAMIC_SHARED(unsigned char, shared);
    const Rows<false> rows(p, 0);
    const int width = rows.depth(), thread = threadIdx.x;
    const Place at(p, BM, BN, p.columns, width);
    int row = at.split * p.steps * Field::DEPTH;
    const int end = min(rows.count(), row + p.steps * Field::DEPTH);

    Field field;
    float bias_sum = 0.0f;
    GradientColumns<T, typename Field::A> left(p, y + at.group * p.y_group, at.row);
    WindowColumns<T, typename Field::B> right(rows, x + at.group * p.x_group, at.column);
    left.staging.valid = y, right.staging.valid = x;
    const bool adds_bias = bias_slices && at.column == 0 && thread < BM;
    field.add(
        (end - row + Field::DEPTH - 1) / Field::DEPTH, shared,
        [&](unsigned char* a, unsigned char* b) {
            left.staging.to = a, right.staging.to = b;
            left.fetch(p, row, end);
            right.fetch(rows, row, end);
            row += Field::DEPTH;
        },
        [&](const unsigned char* a) {
            if (!adds_bias) return;
            for (int k = 0; k < Field::DEPTH; k++) bias_sum += wide(Field::A::value(a, thread, k));
        });
    slices += at.split * p.y_slice + at.group * p.w_group;
    field.each([&](int i, int j, float(&values)[4]) {
        const int k = at.row + i, column = at.column + j;
        if (k < p.columns && column < width)
            write(slices + static_cast<long long>(k) * p.w_row + column, values, width - column,
                  p.aligned);
    });
    if (adds_bias && at.row + thread < p.columns)
        bias_slices[(at.split * p.groups + at.group) * static_cast<long long>(p.columns) + at.row +
                    thread] = bias_sum;
}
