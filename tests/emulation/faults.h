// Faults that a test plans through the environment, read at every cuInit. Numbers count from 1; 0 or unset: never.
#ifndef BS_TESTS_EMULATION_FAULTS_H
#define BS_TESTS_EMULATION_FAULTS_H

#include <stddef.h>
#include <stdint.h>

namespace bs_emulation
{

struct faults {
    int devices;         // BS_FAKE_CUDA_DEVICES: GPUs at hand (1)
    int version;         // BS_FAKE_CUDA_VERSION: what the driver supports (12080)
    int capability;      // BS_FAKE_CUDA_CAPABILITY: 75, 80, 86, 89, 90 (the default), 100, 120
    int multiprocessors; // BS_FAKE_CUDA_MULTIPROCESSORS (6)
    size_t memory;       // BS_FAKE_CUDA_MEMORY: bytes of the device (4 GiB)
    uint64_t fail_init;  // BS_FAKE_CUDA_FAIL_INIT: the error that cuInit answers
    uint64_t fail_alloc; // BS_FAKE_CUDA_FAIL_ALLOC: the n-th allocation on the device finds no memory
    uint64_t fail_host;  // BS_FAKE_CUDA_FAIL_HOST_ALLOC: likewise of pinned host memory
    uint64_t
        fail_launch; // BS_FAKE_CUDA_LAUNCH_ERROR: the n-th launch is refused (out of resources); others work
    uint64_t sticky; // BS_FAKE_CUDA_STICKY_AT_LAUNCH: the n-th launch reads an illegal address when it runs
    uint64_t lost;   // BS_FAKE_CUDA_LOST_AT: at the n-th call after cuInit the device is gone
    bool deaf;       // BS_FAKE_CUDA_DEAF_STREAMS: a stream that is told to wait for an event does not
    uint64_t seed;   // BS_EMULATION_SEED (1)
};

faults read_faults();

} // namespace bs_emulation

#endif
