// Runs a grid: its blocks one after another, the threads of a block as fibers, in an order drawn from a
// seed. A thread runs until it waits at a barrier or in a warp's collective, or ends.
//
// What goes wrong is reported, never run over: a read or write outside a buffer (its guard page
// traps), a barrier that some threads never reach, a collective that lanes of one warp enter
// differently. Shared memory holds NaN (all bits set) when a block begins.
#pragma once
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <vector_types.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "fiber.h"

namespace cusim {

constexpr int WARP = 32;
constexpr size_t MOST_SHARED = 227 << 10;
constexpr unsigned MOST_THREADS = 1024;

struct Warp;

struct Copy {  // a cp.async on its way
    void* to;
    const void* from;
    int bytes;
    bool ok;
};

struct Thread {
    Context context;
    char* stack;
    uint3 index;
    int lane;
    Warp* warp;
    bool done;
    const unsigned* awaited;  // the generation that this thread waits to see changed, if any
    unsigned seen;
    std::vector<Copy> open_group;
    std::vector<std::vector<Copy>> groups;
};

struct Warp {
    unsigned live;        // lanes that have not ended
    unsigned arrived;     // lanes in the collective that is going on
    unsigned mask;        // the lanes it is for
    int kind;             // which collective
    unsigned generation;  // counts collectives
    uint64_t in[WARP], out[WARP];
    int source[WARP];
    void* pointer[WARP];
};

struct Statistics {
    unsigned long long switches, ldmatrix, bank_conflicts, mma;
};

inline Thread* current;
inline Context scheduler;
inline uint3 block_index;
inline dim3 block_size, grid_size;
inline unsigned threads_live, threads_at_barrier, barrier_generation;
inline char* dynamic_shared;
inline size_t dynamic_bytes;
inline unsigned long long seed;
inline Statistics statistics;
inline char failure[400];
inline sigjmp_buf after_failure;
inline void (*run_body)(void*);
inline void* body;

inline void yield() {
    ++statistics.switches;
    switch_to(current->context, scheduler);
}

// End the launch with a message that names the thread.
[[noreturn]] inline void fail(const std::string& what) {
    snprintf(failure, sizeof failure, "%s, in block (%u, %u, %u) thread (%u, %u, %u)", what.c_str(),
             block_index.x, block_index.y, block_index.z, current->index.x, current->index.y,
             current->index.z);
    siglongjmp(after_failure, 1);
}

inline void on_trap(int, siginfo_t* information, void*) {
    snprintf(failure, sizeof failure,
             "an access outside every buffer, at %p, in block (%u, %u, %u) thread (%u, %u, %u)",
             information->si_addr, block_index.x, block_index.y, block_index.z,
             current ? current->index.x : 0, current ? current->index.y : 0,
             current ? current->index.z : 0);
    siglongjmp(after_failure, 1);
}

inline void wait_for_change(const unsigned& generation) {
    current->awaited = &generation;
    current->seen = generation;
    yield();
    current->awaited = nullptr;
}

inline void release_barrier() {
    threads_at_barrier = 0;
    ++barrier_generation;
}

inline void syncthreads() {
    if (++threads_at_barrier == threads_live)
        release_barrier();
    else
        wait_for_change(barrier_generation);
}

inline void thread_main() {
    run_body(body);
    current->done = true;
    current->warp->live &= ~(1u << current->lane);
    --threads_live;  // a barrier waits for the threads that have not ended
    if (threads_live && threads_at_barrier == threads_live) release_barrier();
    for (;;) switch_to(current->context, scheduler);
}

struct Segment {
    char* start;
    size_t bytes;
};

inline thread_local volatile char first_use;  // the segment below is made when one of it is used

// Where static shared memory lies: __shared__ variables are thread-local ones of this library (see
// cuda.h), so they fill its thread-local segment, and nothing else of weight does.
inline const Segment& static_shared() {
    static const Segment found = [] {
        first_use = 0;
        Segment segment{nullptr, 0};
        dl_iterate_phdr(
            [](dl_phdr_info* library, size_t, void* out) {
                const auto here = reinterpret_cast<ElfW(Addr)>(&static_shared);
                bool mine = false;
                for (int i = 0; i < library->dlpi_phnum; i++) {
                    const auto& header = library->dlpi_phdr[i];
                    const auto start = library->dlpi_addr + header.p_vaddr;
                    mine |= header.p_type == PT_LOAD && start <= here && here < start + header.p_memsz;
                }
                for (int i = 0; mine && i < library->dlpi_phnum; i++)
                    if (library->dlpi_phdr[i].p_type == PT_TLS)
                        *static_cast<Segment*>(out) = {static_cast<char*>(library->dlpi_tls_data),
                                                       library->dlpi_phdr[i].p_memsz};
                return static_cast<int>(mine);
            },
            &segment);
        return segment;
    }();
    return found;
}

inline void start_block(std::vector<Thread>& threads, std::vector<Warp>& warps, size_t count) {
    memset(dynamic_shared, 0xFF, dynamic_bytes);
    if (static_shared().start) memset(static_shared().start, 0xFF, static_shared().bytes);
    threads_live = static_cast<unsigned>(count);
    threads_at_barrier = 0;
    for (size_t w = 0; w < warps.size(); w++) {
        size_t lanes = count - w * WARP;
        memset(&warps[w], 0, sizeof(Warp));
        warps[w].live = lanes >= WARP ? ~0u : (1u << lanes) - 1;
    }
    for (size_t i = 0; i < count; i++) {
        Thread& thread = threads[i];
        thread.index.x = static_cast<unsigned>(i % block_size.x);
        thread.index.y = static_cast<unsigned>(i / block_size.x % block_size.y);
        thread.index.z = static_cast<unsigned>(i / block_size.x / block_size.y);
        thread.lane = static_cast<int>(i % WARP);
        thread.warp = &warps[i / WARP];
        thread.done = false;
        thread.awaited = nullptr;
        thread.open_group.clear();
        thread.groups.clear();
        prepare(thread.context, thread.stack, thread_main);
    }
}

inline void shuffle(unsigned* order, size_t count) {
    for (size_t i = count; i > 1; i--) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        std::swap(order[i - 1], order[(seed >> 33) % i]);
    }
}

// Let each of these threads run until it waits or ends; whether any could.
inline bool run_once(std::vector<Thread>& threads, const unsigned* order, size_t count) {
    bool progress = false;
    for (size_t i = 0; i < count; i++) {
        Thread& thread = threads[order[i]];
        if (thread.done || (thread.awaited && *thread.awaited == thread.seen)) continue;
        progress = true;
        current = &thread;
        switch_to(scheduler, thread.context);
    }
    return progress;
}

// Without a seed all threads take turns, in order. With one, warps are drawn, and each runs as far ahead
// of the others as it can, its lanes in an order of their own: what a missing barrier lets happen.
inline void run_block(std::vector<Thread>& threads, std::vector<unsigned>& lanes,
                      std::vector<unsigned>& warps) {
    const size_t count = lanes.size();
    if (seed) shuffle(warps.data(), warps.size());
    for (size_t w = 0; seed && w < warps.size(); w++)
        shuffle(&lanes[w * WARP], std::min<size_t>(WARP, count - w * WARP));
    while (threads_live) {
        bool progress = false;
        if (!seed) progress = run_once(threads, lanes.data(), count);
        for (size_t i = 0; seed && i < warps.size(); i++) {
            const size_t first = static_cast<size_t>(warps[i]) * WARP;
            while (run_once(threads, &lanes[first], std::min<size_t>(WARP, count - first)))
                progress = true;
        }
        if (!progress) fail("some threads wait at a barrier or a collective that others never reach");
    }
}

inline void run_grid(void (*run)(void*), void* with) {
    static std::vector<Thread> threads;
    static std::vector<Warp> warps;
    const size_t count = static_cast<size_t>(block_size.x) * block_size.y * block_size.z;
    while (threads.size() < count) {
        threads.emplace_back();
        threads.back().stack = make_stack();
    }
    if (!dynamic_shared) dynamic_shared = static_cast<char*>(aligned_alloc(1024, MOST_SHARED + 1024));
    warps.resize((count + WARP - 1) / WARP);
    run_body = run;
    body = with;
    std::vector<unsigned> lane_order(count), warp_order(warps.size());
    std::iota(lane_order.begin(), lane_order.end(), 0u);
    std::iota(warp_order.begin(), warp_order.end(), 0u);
    for (unsigned z = 0; z < grid_size.z; z++)
        for (unsigned y = 0; y < grid_size.y; y++)
            for (unsigned x = 0; x < grid_size.x; x++) {
                block_index = {x, y, z};
                start_block(threads, warps, count);
                run_block(threads, lane_order, warp_order);
            }
}

// Run a grid; nullptr, or what went wrong.
inline const char* launch(dim3 grid, dim3 block, size_t shared, void (*run)(void*), void* with) {
    grid_size = grid;
    block_size = block;
    dynamic_bytes = shared;
    current = nullptr;
    failure[0] = 0;
    if (static_cast<size_t>(block.x) * block.y * block.z > MOST_THREADS || shared > MOST_SHARED)
        return "the block is larger than a card allows";
    static char signal_stack[64 << 10];
    stack_t alternative{}, old_alternative{};
    alternative.ss_sp = signal_stack;
    alternative.ss_size = sizeof signal_stack;
    struct sigaction trap {}, old_segv {}, old_bus {};
    trap.sa_sigaction = on_trap;
    trap.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaltstack(&alternative, &old_alternative);
    sigaction(SIGSEGV, &trap, &old_segv);
    sigaction(SIGBUS, &trap, &old_bus);
    if (sigsetjmp(after_failure, 1) == 0) run_grid(run, with);
    sigaction(SIGSEGV, &old_segv, nullptr);
    sigaction(SIGBUS, &old_bus, nullptr);
    sigaltstack(&old_alternative, nullptr);
    return failure[0] ? failure : nullptr;
}

// Call `kernel` with the values that `arguments` point to; their sizes must be the parameters'.
template <class... A, size_t... I>
inline const char* call(void (*kernel)(A...), dim3 grid, dim3 block, size_t shared, void** arguments,
                        const size_t* sizes, size_t count, std::index_sequence<I...>) {
    const size_t expected[] = {sizeof(A)..., 0};
    if (count != sizeof...(A)) return "the number of arguments differs from the kernel's";
    for (size_t i = 0; i < count; i++)
        if (sizes[i] != expected[i]) {
            snprintf(failure, sizeof failure, "argument %zu has %zu bytes and the kernel's has %zu", i,
                     sizes[i], expected[i]);
            return failure;
        }
    auto run = [=] { kernel(*static_cast<std::remove_reference_t<A>*>(arguments[I])...); };
    return launch(grid, block, shared, [](void* f) { (*static_cast<decltype(run)*>(f))(); }, &run);
}

template <class... A>
inline const char* call(void (*kernel)(A...), dim3 grid, dim3 block, size_t shared, void** arguments,
                        const size_t* sizes, size_t count) {
    return call(kernel, grid, block, shared, arguments, sizes, count, std::index_sequence_for<A...>{});
}

}  // namespace cusim

#define CUSIM_API extern "C" __attribute__((visibility("default"), used))

// Make a kernel callable from outside this library under `symbol`.
#define CUSIM_EXPORT(symbol, ...)                                                                      \
    CUSIM_API const char* symbol(const unsigned* grid, const unsigned* block, size_t shared,           \
                                 void** arguments, const size_t* sizes, size_t count) {                \
        return cusim::call(&__VA_ARGS__, dim3(grid[0], grid[1], grid[2]),                              \
                           dim3(block[0], block[1], block[2]), shared, arguments, sizes, count);       \
    }

CUSIM_API inline void cusim_seed(unsigned long long seed) { cusim::seed = seed; }

CUSIM_API inline void cusim_statistics(unsigned long long* out) {
    memcpy(out, &cusim::statistics, sizeof cusim::statistics);
    cusim::statistics = {};
}
