// The operands of a product, tile by tile, as a block's threads read them.
//
// A Stage says which values a thread is responsible for and what becomes of them: `take(pass, from,
// inside)` is called for every pass of every step, with the address of a vector of neighbours, or
// with inside = false for one that counts as zeros. simt.cuh takes them to registers, tensor.cuh
// starts an asynchronous copy to shared memory.
#ifndef FLAGSTONE_OPERANDS_CUH
#define FLAGSTONE_OPERANDS_CUH

#include "window.cuh"

// x[at(row, tap), c] for a tile's rows.
template <typename T, typename Stage, bool PHASED>
struct WindowRows {
    Stage staging;
    Window<T> windows[Stage::PASSES];

    __device__ __forceinline__ WindowRows(const Rows<PHASED>& rows, const T* x, int first) {
#pragma unroll
        for (int i = 0; i < Stage::PASSES; i++) windows[i].move(rows, x, first + Stage::line(i));
    }

    __device__ __forceinline__ void fetch(const Rows<PHASED>& rows, const Cursor<PHASED>& cursor, int index,
                                          int depth) {
        const bool inside = index + Stage::chunk() < depth;
#pragma unroll
        for (int i = 0; i < Stage::PASSES; i++)
            staging.take(i, windows[i].base + cursor.source,
                         inside && windows[i].sees(rows.p, cursor.at));
    }
};

// w[n, tap, c] for a tile's columns n.
template <typename T, typename Stage, bool PHASED>
struct WeightRows {
    Stage staging;
    const T* base;
    int first;

    __device__ __forceinline__ WeightRows(const Rows<PHASED>& rows, const T* w, int column)
        : base(w + static_cast<long long>(column + Stage::line(0)) * rows.p.w_row),
          first(column + Stage::line(0)) {}

    __device__ __forceinline__ void fetch(const Rows<PHASED>& rows, const Cursor<PHASED>& cursor, int index,
                                          int depth) {
        const bool inside = index + Stage::chunk() < depth;
#pragma unroll
        for (int i = 0; i < Stage::PASSES; i++) {
            const long long down = static_cast<long long>(i) * Stage::LINES * rows.p.w_row;
            staging.take(i, base + down + cursor.weight,
                         inside && first + i * Stage::LINES < rows.p.columns);
        }
    }
};

// w[c, tap, n] for a tile's columns n, which are neighbours here.
template <typename T, typename Stage, bool PHASED>
struct WeightColumns {
    Stage staging;
    const T* base;
    bool inside;

    __device__ __forceinline__ WeightColumns(const Rows<PHASED>& rows, const T* w, int column)
        : base(w + column + Stage::chunk()), inside(column + Stage::chunk() < rows.p.columns) {}

    __device__ __forceinline__ void fetch(const Rows<PHASED>& rows, const Cursor<PHASED>&, int index, int depth) {
#pragma unroll
        for (int i = 0; i < Stage::PASSES; i++) {
            const int k = index + Stage::line(i);
            const bool seen = inside && k < depth;
            staging.take(i, base + rows.weight_offset(seen ? k : 0), seen);
        }
    }
};

// y[row, k] for a tile's rows k of the weight gradient; the sum runs over rows of y.
template <typename T, typename Stage>
struct GradientColumns {
    Stage staging;
    const T* base;
    bool inside;

    __device__ __forceinline__ GradientColumns(const Product& p, const T* y, int column)
        : base(y + column + Stage::chunk()), inside(column + Stage::chunk() < p.columns) {}

    __device__ __forceinline__ void fetch(const Product& p, int row, int end) {
#pragma unroll
        for (int i = 0; i < Stage::PASSES; i++) {
            const int m = row + Stage::line(i);
            staging.take(i, base + static_cast<long long>(m) * p.y_row, inside && m < end);
        }
    }
};

// x[at(row, tap), c] for a tile's columns (tap, c) of the weight gradient.
template <typename T, typename Stage>
struct WindowColumns {
    Stage staging;
    const T* base;
    int at[3];
    bool inside;

    __device__ __forceinline__ WindowColumns(const Rows<false>& rows, const T* x, int column) {
        const Cursor<false> cursor(rows, column + Stage::chunk());
        inside = column + Stage::chunk() < rows.depth();
        base = x + cursor.source;
#pragma unroll
        for (int a = 0; a < 3; a++) at[a] = cursor.at[a];
    }

    __device__ __forceinline__ void fetch(const Rows<false>& rows, int row, int end) {
#pragma unroll
        for (int i = 0; i < Stage::PASSES; i++) {
            const int m = row + Stage::line(i);
            Window<T> window;
            window.move(rows, base, m);
            staging.take(i, window.base, inside && m < end && window.sees(rows.p, at));
        }
    }
};

#endif
