// A fiber is a stack with a saved stack pointer: one for each CUDA thread of a block. Switching costs
// about ten nanoseconds on x86-64; elsewhere the C library's ucontext does it, more slowly.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cusim {

constexpr size_t STACK_BYTES = 64 << 10;
constexpr size_t PAGE_BYTES = 4096;

// Memory for a stack, above a page that traps when the stack overflows.
inline char* make_stack() {
    void* base = mmap(nullptr, STACK_BYTES + PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) abort();
    mprotect(base, PAGE_BYTES, PROT_NONE);
    return static_cast<char*>(base) + PAGE_BYTES;
}

#if defined(__x86_64__)

struct Context {
    void* stack_pointer;
};

extern "C" void cusim_switch(void** save, void* to);
// Push the registers that a call must keep, exchange stacks, pop those of the other side.
asm(R"(
    .weak cusim_switch
cusim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

inline void switch_to(Context& from, Context& to) {
    cusim_switch(&from.stack_pointer, to.stack_pointer);
}

// Make `context` start `entry` on `stack` when it is switched to; `entry` never returns.
inline void prepare(Context& context, char* stack, void (*entry)()) {
    void** top = reinterpret_cast<void**>(stack + STACK_BYTES - 64);  // 16-byte aligned
    *--top = nullptr;                                // where `entry` would return to
    *--top = reinterpret_cast<void*>(entry);         // where cusim_switch returns to
    for (int i = 0; i < 6; i++) *--top = nullptr;    // the registers it pops
    context.stack_pointer = top;
}

#else

struct Context {
    ucontext_t state;
};

inline void switch_to(Context& from, Context& to) { swapcontext(&from.state, &to.state); }

inline void prepare(Context& context, char* stack, void (*entry)()) {
    getcontext(&context.state);
    context.state.uc_stack.ss_sp = stack;
    context.state.uc_stack.ss_size = STACK_BYTES;
    context.state.uc_link = nullptr;
    makecontext(&context.state, entry, 0);
}

#endif

}  // namespace cusim
