// Runs a launch: some blocks at a time, their threads on fibers in an order drawn from the seed, until all ended or something is
// wrong. Under the one lock of the fake driver.
#ifndef BS_TESTS_EMULATION_SCHEDULER_H
#define BS_TESTS_EMULATION_SCHEDULER_H

#include "kernels/cuda/device.cuh"

#include <vector>

namespace bs_emulation
{

struct launch {
    const kernel *what;
    index3 grid;
    unsigned threads;
    size_t shared, shared_limit; // dynamic bytes; what static and dynamic may be together
    std::vector<char> arguments;
};

const kernel *find_kernel(const char *name);
// False when something was found (findings.h); what the kernel wrote until then stays.
bool run(const launch &l);

// Numbers from the seed; any order that the hardware leaves open is drawn from here.
void seed_order(uint64_t seed);
uint64_t draw(uint64_t below);

} // namespace bs_emulation

#endif
