// See fiber.h.
#include "tests/emulation/fiber.h"

#include <new>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define BS_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BS_ADDRESS_SANITIZER 1
#endif
#endif
#ifdef BS_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace bs_emulation
{

constexpr size_t stack_bytes = 256 << 10, guard_bytes = 4096; // touched pages alone cost memory

fiber::fiber() : entry_(nullptr), context_(nullptr)
{
    void *p = mmap(nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || mprotect(p, guard_bytes, PROT_NONE) != 0)
        throw std::bad_alloc();
    stack_ = static_cast<char *>(p) + guard_bytes;
    // Not all stacks begin at the same place of a page: they would share the same few lines of the cache.
    static size_t made = 0;
    size_ = stack_bytes - made++ * 320 % 4096;
}

fiber::~fiber()
{
    munmap(stack_ - guard_bytes, stack_bytes + guard_bytes);
}

void fiber::first(fiber *self)
{
#ifdef BS_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(nullptr, &self->scheduler_bottom_, &self->scheduler_size_);
#endif
    self->entry_(self->context_);
    __builtin_trap(); // entry ends with leave(true)
}

#ifdef __x86_64__

// switch_stack(where to save the stack pointer, the stack pointer to take)
extern "C" void bs_fiber_switch(void **save, void *take);
extern "C" void bs_fiber_start();
__asm__(".text\n"
        ".hidden bs_fiber_switch\n"
        ".globl bs_fiber_switch\n"
        ".type bs_fiber_switch, @function\n"
        "bs_fiber_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size bs_fiber_switch, . - bs_fiber_switch\n"
        // A fresh fiber's first return address: r12 is the function, r13 its argument.
        ".hidden bs_fiber_start\n"
        ".globl bs_fiber_start\n"
        ".type bs_fiber_start, @function\n"
        "bs_fiber_start:\n"
        "    movq %r13, %rdi\n"
        "    xorl %ebp, %ebp\n"
        "    call *%r12\n"
        "    ud2\n"
        ".size bs_fiber_start, . - bs_fiber_start\n");

void fiber::begin(void (*entry)(void *), void *context)
{
    entry_ = entry;
    context_ = context;
    fake_ = nullptr;
#ifdef BS_ADDRESS_SANITIZER
    __asan_unpoison_memory_region(stack_, size_); // frames abandoned there
#endif
    void **top = reinterpret_cast<void **>(stack_ + size_);
    *--top = nullptr;
    *--top = nullptr; // what bs_fiber_start runs on: 16-byte aligned, as a call wants it
    *--top = reinterpret_cast<void *>(bs_fiber_start);
    *--top = nullptr;                                 // rbp
    *--top = nullptr;                                 // rbx
    *--top = reinterpret_cast<void *>(&fiber::first); // r12
    *--top = this;                                    // r13
    *--top = nullptr;                                 // r14
    *--top = nullptr;                                 // r15
    here_ = top;
}

#define SWITCH(from, to) bs_fiber_switch(&(from), to)

#else

void bs_fiber_first(fiber *self)
{
    fiber::first(self);
}

static void start(unsigned low, unsigned high)
{
    bs_fiber_first(reinterpret_cast<fiber *>((uintptr_t)low | (uintptr_t)high << 16 << 16));
}

void fiber::begin(void (*entry)(void *), void *context)
{
    entry_ = entry;
    context_ = context;
    fake_ = nullptr;
#ifdef BS_ADDRESS_SANITIZER
    __asan_unpoison_memory_region(stack_, size_);
#endif
    getcontext(&here_);
    here_.uc_stack.ss_sp = stack_;
    here_.uc_stack.ss_size = size_;
    here_.uc_link = nullptr;
    uintptr_t self = reinterpret_cast<uintptr_t>(this);
    makecontext(&here_, reinterpret_cast<void (*)()>(start), 2, (unsigned)self, (unsigned)(self >> 16 >> 16));
}

#define SWITCH(from, to) swapcontext(&(from), &(to))

#endif

void fiber::enter()
{
#ifdef BS_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(&scheduler_fake_, stack_, size_);
#endif
    SWITCH(scheduler_, here_);
#ifdef BS_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(scheduler_fake_, nullptr, nullptr);
#endif
}

void fiber::leave(bool forever)
{
    (void)forever;
#ifdef BS_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(forever ? nullptr : &fake_, scheduler_bottom_, scheduler_size_);
#endif
    SWITCH(here_, scheduler_);
#ifdef BS_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(fake_, &scheduler_bottom_, &scheduler_size_);
#endif
}

} // namespace bs_emulation
