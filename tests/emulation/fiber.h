// Stacks that take turns on one thread of the host: a switch saves the registers that a call keeps and changes the stack. On
// other processors than x86-64 the C library's (slower) contexts do it. AddressSanitizer is told of every switch.
#ifndef BS_TESTS_EMULATION_FIBER_H
#define BS_TESTS_EMULATION_FIBER_H

#include <stddef.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace bs_emulation
{

class fiber
{
  public:
    fiber();
    ~fiber();
    fiber(const fiber &) = delete;
    fiber &operator=(const fiber &) = delete;
    // From the scheduler: runs entry(context) from its start; whatever the fiber did before is abandoned.
    void begin(void (*entry)(void *), void *context);
    // From the scheduler: continues until the fiber calls leave().
    void enter();
    // From the fiber: back to where enter() was called. `forever`: nobody will enter it again before begin().
    void leave(bool forever);

  private:
    char *stack_;
    size_t size_;
    void (*entry_)(void *);
    void *context_;
#ifdef __x86_64__
    void *here_ = nullptr, *scheduler_ = nullptr; // stack pointers
#else
    ucontext_t here_, scheduler_;
#endif
    void *fake_ = nullptr, *scheduler_fake_ = nullptr; // AddressSanitizer's
    const void *scheduler_bottom_ = nullptr;
    size_t scheduler_size_ = 0;
    static void first(fiber *self);
    friend void bs_fiber_first(fiber *self);
};

} // namespace bs_emulation

#endif
