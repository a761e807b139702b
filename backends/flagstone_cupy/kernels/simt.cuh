// Tiles of a product on the ordinary arithmetic units, in float32 (float64 for float64).
//
// A block adds up a BM x BN tile of the product, DEPTH indices of the sum a step. Both operands of a
// step lie in shared memory as [index][row], so that a thread reads four neighbouring rows at once,
// in two such buffers: while one is multiplied, the next step's values are on their way to registers,
// and are then put into the other. One barrier a step suffices.
//
// A warp's lanes form 4 x 8 fields, and each has TM x TN results in squares of 4 x 4: at 8 x 8 a
// step of the inner loop reads 2 * (64 + 128) bytes of shared memory a warp for 2048 multiply-adds,
// without bank conflicts.
//
// The order of additions depends on the sum's length and its split only, not on the tile.
#ifndef FLAGSTONE_SIMT_CUH
#define FLAGSTONE_SIMT_CUH

#include "operands.cuh"

constexpr int DEPTH = 8;

__host__ __device__ constexpr int simt_threads(int bm, int bn, int tm, int tn) {
    return bm / (4 * tm) * (bn / (8 * tn)) * 32;
}

// How many blocks a multiprocessor must have room for in its 65536 registers; `bytes` of a sum.
__host__ __device__ constexpr int simt_blocks(int results, int vec, int bytes) {
    return bytes == 8 ? 2 : results < 64 && vec > 1 ? 4 : 3;
}

// A step's values of one operand on their way from global to shared memory. Each thread's share is
// PASSES vectors of VEC values. Where values lie along the sum's index (ALONG), neighbouring threads
// take neighbouring indices, else neighbouring rows.
template <typename T, int ROWS, int THREADS, int VEC, bool ALONG>
struct Staging {
    static constexpr int CHUNKS = (ALONG ? DEPTH : ROWS) / VEC;
    static constexpr int LINES = THREADS / CHUNKS;  // that one pass covers
    static constexpr int ALL = ALONG ? ROWS : DEPTH;
    static constexpr int PASSES = LINES > ALL ? 1 : ALL / LINES;
    static constexpr int STRIDE = ROWS + 4;
    static_assert(LINES > ALL || PASSES * LINES == ALL, "threads must have equal shares");

    Vector<T, VEC> values[PASSES];

    __device__ __forceinline__ static int chunk() { return threadIdx.x % CHUNKS * VEC; }
    __device__ __forceinline__ static int line(int pass) {
        return threadIdx.x / CHUNKS + pass * LINES;
    }
    __device__ __forceinline__ static bool idle() { return LINES > ALL && line(0) >= ALL; }

    __device__ __forceinline__ void take(int pass, const T* from, bool inside) {
        if (inside && !idle()) {
            values[pass] = *reinterpret_cast<const Vector<T, VEC>*>(from);
        } else {
#pragma unroll
            for (int v = 0; v < VEC; v++) values[pass].at[v] = rounded<T>(0);
        }
    }

    template <typename S>
    __device__ __forceinline__ void store(S* tile) const {
        if (idle()) return;
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++) {
            Vector<S, VEC> taken;
#pragma unroll
            for (int v = 0; v < VEC; v++) taken.at[v] = wide(values[pass].at[v]);
            if (ALONG) {
#pragma unroll
                for (int v = 0; v < VEC; v++) tile[(chunk() + v) * STRIDE + line(pass)] = taken.at[v];
            } else {
                *reinterpret_cast<Vector<S, VEC>*>(tile + line(pass) * STRIDE + chunk()) = taken;
            }
        }
    }
};

// The results of one thread.
template <typename S, int BM, int BN, int TM, int TN>
struct Field {
    static constexpr int WARPS = BN / (8 * TN);  // beside each other
    static constexpr int A = BM + 4, B = BN + 4;  // from one index to the next
    static constexpr int BUFFER = DEPTH * (A + B);

    S sum[TM][TN];
    int row, column;  // of the first result in the tile

    __device__ __forceinline__ Field() {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        row = warp / WARPS * (4 * TM) + lane / 8 * 4;
        column = warp % WARPS * (8 * TN) + lane % 8 * 4;
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++) sum[i][j] = 0;
    }
    __device__ __forceinline__ int row_of(int i) const { return row + i / 4 * 16 + i % 4; }
    __device__ __forceinline__ int column_of(int j) const { return column + j / 4 * 32 + j % 4; }

    // Add one step's products.
    __device__ __forceinline__ void multiply(const S* buffer) {
        const S* right = buffer + DEPTH * A;
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            Vector<S, 4> a[TM / 4], b[TN / 4];
#pragma unroll
            for (int i = 0; i < TM / 4; i++)
                a[i] = *reinterpret_cast<const Vector<S, 4>*>(buffer + k * A + row_of(4 * i));
#pragma unroll
            for (int j = 0; j < TN / 4; j++)
                b[j] = *reinterpret_cast<const Vector<S, 4>*>(right + k * B + column_of(4 * j));
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int j = 0; j < TN; j++) sum[i][j] += a[i / 4].at[i % 4] * b[j / 4].at[j % 4];
        }
    }

    // All steps: `fetch` reads the next, `put` stores it to shared memory, `also` looks at each.
    template <typename Fetch, typename Put, typename Also>
    __device__ __forceinline__ void add(int steps, S* shared, Fetch fetch, Put put, Also also) {
        if (steps > 0) {
            fetch();
            put(shared, shared + DEPTH * A);
        }
        __syncthreads();
#pragma unroll 1
        for (int step = 0; step < steps; step++) {
            const S* now = shared + step % 2 * BUFFER;
            S* next = shared + (step + 1) % 2 * BUFFER;
            if (step + 1 < steps) fetch();
            multiply(now);
            also(now);
            if (step + 1 < steps) {
                put(next, next + DEPTH * A);
                __syncthreads();
            }
        }
    }
};

// Write a thread's results of a forward pass or an input gradient.
template <typename T, typename S, int BM, int BN, int TM, int TN, bool PHASED>
__device__ __forceinline__ void finish_all(const Rows<PHASED>& rows, const Place& at,
                                           const Field<S, BM, BN, TM, TN>& field, T* y, S* slices,
                                           const T* bias) {
    const int count = rows.count();
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const int row = at.row + field.row_of(i);
        if (row >= count) continue;
        const long long place = rows.place(row);
#pragma unroll
        for (int j = 0; j < TN; j += 4) {
            S values[4] = {field.sum[i][j], field.sum[i][j + 1], field.sum[i][j + 2],
                           field.sum[i][j + 3]};
            const int column = at.column + field.column_of(j);
            if (column < rows.p.columns) finish(rows.p, at.group, at.split, place, column, values, y, slices, bias);
        }
    }
}

#endif
