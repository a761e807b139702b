// Tiles of a product on the tensor cores: float16 and bfloat16, and float32 rounded to tf32, all with
// float32 sums (mma.m16n8k16 and .m16n8k8).
//
// A block of 128 threads adds up a BM x BN tile, 64 bytes of each row a step: 32 indices of the sum, or
// 16 of float32. Copies from global to shared memory run STAGES - 1 steps ahead (cp.async) and pass no
// register. A 16-byte chunk's place in shared memory is twisted (xor with bits of its row), so that
// the copies write, and ldmatrix reads, without bank conflicts.
//
// Of an operand that lies along the sum's index, a step is [row][64 bytes], and ldmatrix gives the
// fragments as they are; of one that lies across it, [index][rows], and ldmatrix transposes pairs of
// bytes. It cannot transpose float32: those fragments are read value by value.
#ifndef FLAGSTONE_TENSOR_CUH
#define FLAGSTONE_TENSOR_CUH

#include "operands.cuh"

constexpr int TENSOR_THREADS = 128;
constexpr int STEP_BYTES = 64;  // of each row of an operand

// A step's values of one operand in shared memory, and the copies that bring them there.
template <typename T, int ROWS, bool ALONG>
struct Copies {
    static constexpr int VEC = 16 / sizeof(T);
    static constexpr int DEPTH = STEP_BYTES / sizeof(T);
    static constexpr int CHUNKS = (ALONG ? DEPTH : ROWS) / VEC;
    static constexpr int LINES = TENSOR_THREADS / CHUNKS;
    static constexpr int PASSES = (ALONG ? ROWS : DEPTH) / LINES;
    static constexpr int BYTES = ROWS * STEP_BYTES;
    static_assert(ALONG || CHUNKS >= 8, "the twist needs eight chunks");

    const T* valid;     // any address that can be read
    unsigned char* to;  // the stage that copies go to

    __device__ __forceinline__ static int chunk() { return threadIdx.x % CHUNKS * VEC; }
    __device__ __forceinline__ static int line(int pass) {
        return threadIdx.x / CHUNKS + pass * LINES;
    }

    // Where chunk `c` of a line lies: lines that are read together differ in what is xored.
    __device__ __forceinline__ static int place(int line, int c) {
        const int twist = ALONG ? line >> 1 & 3 : sizeof(T) == 2 ? line & 7 : (line & 3) << 1;
        return line * CHUNKS * 16 + ((c ^ twist) << 4);
    }

    __device__ __forceinline__ void take(int pass, const T* from, bool inside) {
        cp_async_16(to + place(line(pass), threadIdx.x % CHUNKS), inside ? from : valid, inside);
    }

    // One value: its row of the operand and its index in the step.
    __device__ __forceinline__ static const T& value(const unsigned char* stage, int row, int k) {
        const int line = ALONG ? row : k, at = ALONG ? k : row;
        return reinterpret_cast<const T*>(stage + place(line, at / VEC))[at % VEC];
    }

    // 16 rows from `row` on, and one half of a step's indices, as fragment a of mma.
    __device__ __forceinline__ static void left(unsigned (&r)[4], const unsigned char* stage,
                                                int row, int half) {
        const int lane = threadIdx.x % 32;
        if constexpr (ALONG) {
            ldmatrix_x4(r, stage + place(row + lane % 16, half * 2 + lane / 16));
        } else if constexpr (sizeof(T) == 2) {
            ldmatrix_x4_trans(r, stage + place(half * 16 + lane % 8 + lane / 16 * 8,
                                               row / 8 + lane / 8 % 2));
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++)
                r[i] = __float_as_uint(value(stage, row + lane / 4 + i % 2 * 8,
                                             half * 8 + lane % 4 + i / 2 * 4));
        }
        round(r);
    }

    // The same as fragments b of two products: r[0], r[1] for the first 8 rows, then the others.
    __device__ __forceinline__ static void right(unsigned (&r)[4], const unsigned char* stage,
                                                 int row, int half) {
        const int lane = threadIdx.x % 32;
        if constexpr (ALONG) {
            ldmatrix_x4(r, stage + place(row + lane % 8 + lane / 16 * 8, half * 2 + lane / 8 % 2));
        } else if constexpr (sizeof(T) == 2) {
            ldmatrix_x4_trans(r, stage + place(half * 16 + lane % 16, row / 8 + lane / 16));
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++)
                r[i] = __float_as_uint(value(stage, row + lane / 4 + i / 2 * 8,
                                             half * 8 + lane % 4 + i % 2 * 4));
        }
        round(r);
    }

    __device__ __forceinline__ static void round(unsigned (&r)[4]) {
        if constexpr (sizeof(T) == 4) {
#pragma unroll
            for (int i = 0; i < 4; i++) r[i] = round_to_tf32(__uint_as_float(r[i]));
        }
    }
};

// The results of one warp, WM x WN, as mma lays them out.
template <typename T, int BM, int BN, int WM, int WN, int STAGES, bool A_ALONG, bool B_ALONG>
struct WarpField {
    static_assert(BM / WM * (BN / WN) * 32 == TENSOR_THREADS, "four warps");
    using A = Copies<T, BM, A_ALONG>;
    using B = Copies<T, BN, B_ALONG>;
    static constexpr int DEPTH = A::DEPTH, STAGE = A::BYTES + B::BYTES;

    float sum[WM / 16][WN / 8][4];
    int row, column;  // of the warp's first result in the tile

    __device__ __forceinline__ WarpField() {
        const int warp = threadIdx.x / 32;
        row = warp % (BM / WM) * WM, column = warp / (BM / WM) * WN;
#pragma unroll
        for (int i = 0; i < WM / 16; i++)
#pragma unroll
            for (int j = 0; j < WN / 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) sum[i][j][e] = 0.0f;
    }

    // Add one step's products.
    __device__ __forceinline__ void multiply(const unsigned char* stage) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            unsigned a[WM / 16][4], b[WN / 16][4];
#pragma unroll
            for (int i = 0; i < WM / 16; i++) A::left(a[i], stage, row + i * 16, half);
#pragma unroll
            for (int j = 0; j < WN / 16; j++) B::right(b[j], stage + A::BYTES, column + j * 16, half);
#pragma unroll
            for (int i = 0; i < WM / 16; i++)
#pragma unroll
                for (int j = 0; j < WN / 8; j++) {
                    const unsigned b0 = b[j / 2][j % 2 * 2], b1 = b[j / 2][j % 2 * 2 + 1];
                    if constexpr (sizeof(T) == 4)
                        mma_1688_tf32(sum[i][j], a[i], b0, b1);
                    else
                        mma_16816<T>(sum[i][j], a[i], b0, b1);
                }
        }
    }

    // All steps: `copy` starts the next step's copies to a stage, `also` looks at each step.
    template <typename Copy, typename Also>
    __device__ __forceinline__ void add(int steps, unsigned char* shared, Copy copy, Also also) {
#pragma unroll
        for (int s = 0; s < STAGES - 1; s++) {
            if (s < steps) copy(shared + s * STAGE, shared + s * STAGE + A::BYTES);
            cp_async_commit();
        }
        int now = 0, next = STAGES - 1;
#pragma unroll 1
        for (int step = 0; step < steps; step++) {
            cp_async_wait<STAGES - 2>();
            __syncthreads();  // this step has landed for all; all are done with the step before it
            if (step + STAGES - 1 < steps) copy(shared + next * STAGE, shared + next * STAGE + A::BYTES);
            cp_async_commit();
            multiply(shared + now * STAGE);
            also(shared + now * STAGE);
            now = now + 1 == STAGES ? 0 : now + 1;
            next = next + 1 == STAGES ? 0 : next + 1;
        }
    }

    // Call `visit(row, column, values)` for the warp's results, four neighbours of a row at a time: two
    // lanes beside each other, which have two each in rows r and r + 8, exchange halves.
    template <typename Visit>
    __device__ __forceinline__ void each(Visit visit) {
        const int lane = threadIdx.x % 32, odd = lane % 2;
#pragma unroll
        for (int i = 0; i < WM / 16; i++)
#pragma unroll
            for (int j = 0; j < WN / 8; j++) {
                const float(&s)[4] = sum[i][j];
                const float got0 = __shfl_xor_sync(0xFFFFFFFFu, odd ? s[0] : s[2], 1);
                const float got1 = __shfl_xor_sync(0xFFFFFFFFu, odd ? s[1] : s[3], 1);
                float values[4] = {odd ? got0 : s[0], odd ? got1 : s[1], odd ? s[2] : got0,
                                   odd ? s[3] : got1};
                visit(row + i * 16 + lane / 4 + odd * 8, column + j * 8 + lane % 4 / 2 * 4, values);
            }
    }
};

#endif
