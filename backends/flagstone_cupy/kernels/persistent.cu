// Whole training steps of tiny models, many in one launch, by one block, in shared memory.
//
// The steps are a program (persistent.py writes it): instructions of 32-bit words, each [code, length,
// ...]. Operands are places in `x`, an arena of values in shared memory; -1 is none. The first part of
// the program brings state in, the second is done once for every step, the third takes state back.
// All threads do one instruction together, then wait for each other. Integers and truth values are
// kept as numbers of type T, which holds those below 2^24 exactly.
//
// Sums are added up in the order of the ordinary kernels (simt.cuh for products, reduce.cu, loss.cu),
// which those use for sums of less than 512 values, whatever number of threads the block has.
//
// Traffic: state, of a few thousand values, twice a launch; the rows of a batch and its numbers once.
// Shared memory: the arena, then the program.
#include "ptx.cuh"
#include "update.cuh"

enum Code {
    LOAD, NUMBERS, STORE, TAKE, TAKE_NUMBERS, PRODUCT, UNARY, BINARY, SUM_ROWS, SUM_COLUMNS,
    CROSS_ENTROPY, CROSS_ENTROPY_GRAD, ARGMAX, SGD, ADAM, COUNT
};
enum Unary { COPY, NEGATIVE, ABS, RELU, SIGMOID, TANH, EXP, LOG, SQRT };
enum Binary {
    ADD, SUBTRACT, MULTIPLY, DIVIDE, RELU_GRAD, ENTROPY_OF_LOGIT, EQUAL, NOT_EQUAL, GREATER,
    GREATER_EQUAL, LESS, LESS_EQUAL
};
constexpr int ARRAYS = 16, TABLES = 4;  // parameters a0 ... and n0 ... below

template <typename T>
__device__ __forceinline__ T applied(int f, T v) {
    if (f == NEGATIVE) return -v;
    if (f == ABS) return fabs(v);
    if (f == RELU) return v < T(0) ? T(0) : v;  // NaN stays
    if (f == SIGMOID) {
        const T e = exp(-fabs(v));
        return (v >= T(0) ? T(1) : e) / (T(1) + e);
    }
    if (f == TANH) return tanh(v);
    if (f == EXP) return exp(v);
    if (f == LOG) return log(v);
    if (f == SQRT) return sqrt(v);
    return v;
}

template <typename T>
__device__ __forceinline__ T combined(int f, T a, T b) {
    if (f == ADD) return a + b;
    if (f == SUBTRACT) return a - b;
    if (f == MULTIPLY) return a * b;
    if (f == DIVIDE) return a / b;
    if (f == RELU_GRAD) return b > T(0) ? a : T(0);
    if (f == ENTROPY_OF_LOGIT) {
        const T positive = a < T(0) ? T(0) : a, product = a * b;
        return positive - product + log1p(exp(-fabs(a)));
    }
    if (f == EQUAL) return a == b ? T(1) : T(0);
    if (f == NOT_EQUAL) return a != b ? T(1) : T(0);
    if (f == GREATER) return a > b ? T(1) : T(0);
    if (f == GREATER_EQUAL) return a >= b ? T(1) : T(0);
    if (f == LESS) return a < b ? T(1) : T(0);
    return a <= b ? T(1) : T(0);
}

// Call f(row, column) for the places of a table, shared by the block's threads.
template <class F>
__device__ __forceinline__ void each_place(int rows, int columns, F f) {
    for (int i = threadIdx.x; i < rows * columns; i += blockDim.x) {
        const int row = i / columns;
        f(row, i - row * columns);
    }
}

// [dst, m, n, k, a, to the next i, to the next l, b, to the next l, to the next j, bias, f]
template <typename T>
__device__ __forceinline__ void product(T* x, const int* at) {
    const int n = at[2], length = at[3];
    each_place(at[1], n, [&](int i, int j) {
        const T* a = x + at[4] + i * at[5];
        const T* b = x + at[7] + j * at[9];
        T sum = 0;
        for (int l = 0; l < length; l++) sum += a[l * at[6]] * b[l * at[8]];
        if (at[10] >= 0) sum += x[at[10] + j];
        x[at[0] + i * n + j] = applied(at[11], sum);
    });
}

// [dst, rows, n, src, wide]: a warp a row adds up what `wide` threads would.
template <typename T>
__device__ __forceinline__ void sum_rows(T* x, const int* at) {
    const int lane = threadIdx.x % WARP, n = at[2];
    for (int row = threadIdx.x / WARP; row < at[1]; row += blockDim.x / WARP) {
        const T* values = x + at[3] + row * n;
        T total = 0;
        for (int first = 0; first < at[4]; first += WARP) {
            T part = 0;
            for (int i = first + lane; i < n; i += at[4]) part += values[i];
            part = warp_sum(part);
            total = first ? total + part : part;
        }
        if (lane == 0) x[at[0] + row] = total;
    }
}

// [dst, outer, n, inner, src, high]: a thread a column adds up what `high` threads would.
template <typename T>
__device__ __forceinline__ void sum_columns(T* x, const int* at) {
    const int n = at[2], inner = at[3], high = at[5];
    each_place(at[1], inner, [&](int o, int i) {
        const T* values = x + at[4] + o * n * inner + i;
        T total = 0;
        for (int first = 0; first < high; first++) {
            T part = 0;
            for (int r = first; r < n; r += high) part += values[r * inner];
            total = first ? total + part : part;
        }
        x[at[0] + o * inner + i] = total;
    });
}

// [loss, p, rows, classes, logits, labels]: a warp a row.
template <typename T>
__device__ __forceinline__ void cross_entropy(T* x, const int* at) {
    const int lane = threadIdx.x % WARP, classes = at[3];
    for (int row = threadIdx.x / WARP; row < at[2]; row += blockDim.x / WARP) {
        const T* logits = x + at[4] + row * classes;
        T* p = x + at[1] + row * classes;
        T top = logits[min(lane, classes - 1)];
        for (int i = lane + WARP; i < classes; i += WARP) {
            const T here = logits[i];
            top = top < here || here != here ? here : top;
        }
        top = warp_max(top);
        T total = 0;
        for (int i = lane; i < classes; i += WARP) total += exp(logits[i] - top);
        total = warp_sum(total);
        for (int i = lane; i < classes; i += WARP) p[i] = exp(logits[i] - top) / total;
        if (lane == 0) {
            const T label = x[at[5] + row];
            const bool valid = label >= T(0) && label < T(classes);
            const T chosen = logits[valid ? static_cast<int>(label) : 0] - top;
            x[at[0] + row] = valid ? log(total) - chosen : static_cast<T>(__int_as_float(0x7FC00000));
        }
    }
}

// [dst, rows, n, src]: the first largest value of each row, or its first NaN.
template <typename T>
__device__ __forceinline__ void argmax(T* x, const int* at) {
    const int n = at[2];
    for (int row = threadIdx.x; row < at[1]; row += blockDim.x) {
        const T* values = x + at[3] + row * n;
        int best = 0;
        for (int i = 1; i < n; i++)
            if (values[i] > values[best] || (values[i] != values[i] && values[best] == values[best]))
                best = i;
        x[at[0] + row] = static_cast<T>(best);
    }
}

template <typename T>
__device__ __forceinline__ T* place(T* x, int at) {
    return at < 0 ? nullptr : x + at;
}

// [p, g, velocity, lr, scale, rates, decays, t, n, nesterov, weight decay and what follows it]
template <typename T>
__device__ __forceinline__ void sgd(T* x, const int* at) {
    if (left_out(x + at[4])) return;
    const T* given = x + at[10];  // weight decay, momentum, dampening
    const Entry<T> entry = {x + at[1], x + at[3], x + at[4], place(x, at[5]), place(x, at[6]), given[0]};
    const T* t = place(x, at[7]);
    T* p = x + at[0];
    T* velocity = place(x, at[2]);
    const T fresh = freshness(t, given[2]);
    for (int i = threadIdx.x; i < at[8]; i += blockDim.x)
        sgd_value(entry, i, p, velocity, given[1], fresh, at[9]);
}

// [p, g, m, v, t, lr, scale, rates, decays, n, decoupled, weight decay and what follows it]
template <typename T>
__device__ __forceinline__ void adam(T* x, const int* at) {
    if (left_out(x + at[6])) return;
    const T* given = x + at[11];  // weight decay, beta1, rest1, log beta1, beta2, rest2, log beta2, eps
    const Entry<T> entry = {x + at[1], x + at[5], x + at[6], place(x, at[7]), place(x, at[8]), given[0]};
    const Means<T> means = {x + at[2], x + at[3], given[1], given[2], given[4], given[5]};
    const T c1 = correction(given[3], x[at[4]]), c2 = correction(given[6], x[at[4]]);
    for (int i = threadIdx.x; i < at[9]; i += blockDim.x)
        adam_value(entry, means, i, x + at[0], c1, c2, given[7], at[10]);
}

template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    persistent(const int* __restrict__ program, int begin, int end, int words, int values, int steps,
               T* a0, T* a1, T* a2, T* a3, T* a4, T* a5, T* a6, T* a7, T* a8, T* a9, T* a10, T* a11,
               T* a12, T* a13, T* a14, T* a15, const long long* n0, const long long* n1,
               const long long* n2, const long long* n3) {
    DYNAMIC_SHARED(T, x);
    __shared__ T* arrays[ARRAYS];
    __shared__ const long long* tables[TABLES];
    int* code = reinterpret_cast<int*>(x + values);
    for (int i = threadIdx.x; i < words; i += blockDim.x) code[i] = program[i];
    if (threadIdx.x == 0) {
        arrays[0] = a0, arrays[1] = a1, arrays[2] = a2, arrays[3] = a3;
        arrays[4] = a4, arrays[5] = a5, arrays[6] = a6, arrays[7] = a7;
        arrays[8] = a8, arrays[9] = a9, arrays[10] = a10, arrays[11] = a11;
        arrays[12] = a12, arrays[13] = a13, arrays[14] = a14, arrays[15] = a15;
        tables[0] = n0, tables[1] = n1, tables[2] = n2, tables[3] = n3;
    }
    __syncthreads();  // the program is there
    int step = 0;
#pragma unroll 1
    for (int pc = 0; pc < words;) {
        const int* at = code + pc + 2;
        switch (code[pc]) {
            case LOAD: {  // [dst, array, n, to the next step, first]
                const T* from = arrays[at[1]] + static_cast<long long>(step) * at[3] + at[4];
                for (int i = threadIdx.x; i < at[2]; i += blockDim.x) x[at[0] + i] = from[i];
                break;
            }
            case NUMBERS: {  // [dst, table, n, to the next step, first]
                const long long* from = tables[at[1]] + static_cast<long long>(step) * at[3] + at[4];
                for (int i = threadIdx.x; i < at[2]; i += blockDim.x)
                    x[at[0] + i] = static_cast<T>(from[i]);
                break;
            }
            case STORE: {  // [src, array, n]
                T* to = arrays[at[1]];
                for (int i = threadIdx.x; i < at[2]; i += blockDim.x) to[i] = x[at[0] + i];
                break;
            }
            case TAKE: {  // [dst, array, its rows, width, count, table of numbers, to the next step]
                const long long* numbers = tables[at[5]] + static_cast<long long>(step) * at[6];
                each_place(at[4], at[3], [&](int i, int j) {
                    const long long row = numbers[i];
                    x[at[0] + i * at[3] + j] = row >= 0 && row < at[2]
                                                   ? arrays[at[1]][row * at[3] + j]
                                                   : static_cast<T>(__int_as_float(0x7FC00000));
                });
                break;
            }
            case TAKE_NUMBERS: {  // the same from a table of numbers
                const long long* numbers = tables[at[5]] + static_cast<long long>(step) * at[6];
                each_place(at[4], at[3], [&](int i, int j) {
                    const long long row = numbers[i];
                    x[at[0] + i * at[3] + j] =
                        row >= 0 && row < at[2] ? static_cast<T>(tables[at[1]][row * at[3] + j]) : T(0);
                });
                break;
            }
            case PRODUCT: product(x, at); break;
            case UNARY:  // [f, dst, rows, columns, src, to the next row, to the next column]
                each_place(at[2], at[3], [&](int i, int j) {
                    x[at[1] + i * at[3] + j] = applied(at[0], x[at[4] + i * at[5] + j * at[6]]);
                });
                break;
            case BINARY:  // [f, dst, rows, columns, a, its steps, b, its steps]
                each_place(at[2], at[3], [&](int i, int j) {
                    x[at[1] + i * at[3] + j] = combined(at[0], x[at[4] + i * at[5] + j * at[6]],
                                                        x[at[7] + i * at[8] + j * at[9]]);
                });
                break;
            case SUM_ROWS: sum_rows(x, at); break;
            case SUM_COLUMNS: sum_columns(x, at); break;
            case CROSS_ENTROPY: cross_entropy(x, at); break;
            case CROSS_ENTROPY_GRAD:  // [dst, rows, classes, g, p, labels]
                each_place(at[1], at[2], [&](int i, int j) {
                    const T chosen = x[at[5] + i] == T(j) ? T(1) : T(0);
                    x[at[0] + i * at[2] + j] = (x[at[4] + i * at[2] + j] - chosen) * x[at[3] + i];
                });
                break;
            case ARGMAX: argmax(x, at); break;
            case SGD: sgd(x, at); break;
            case ADAM: adam(x, at); break;
            case COUNT:  // [t, scale]
                if (threadIdx.x == 0 && !left_out(x + at[1])) x[at[0]] += T(1);
                break;
        }
        pc += code[pc + 1];
        if (pc == end && ++step < steps) pc = begin;
        __syncthreads();  // before the next instruction reads or overwrites
    }
}
