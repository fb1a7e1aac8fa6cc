// What is there while a launch runs: resident blocks, their threads and warps, who runs. For scheduler.cpp (turns), meeting.cpp (where
// threads wait for each other) and reach.cpp (what they touch).
#ifndef BS_TESTS_EMULATION_MACHINE_H
#define BS_TESTS_EMULATION_MACHINE_H

#include "tests/emulation/fiber.h"
#include "tests/emulation/memory.h"
#include "tests/emulation/scheduler.h"

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace bs_emulation
{

constexpr unsigned lanes = 32;

enum class state : uint8_t { ready, at_barrier, at_warp_barrier, at_shuffle, ended };

// 16 bytes on their way from global to shared memory.
struct copy {
    array *to, *from;
    int64_t to_offset, from_offset;
    site where;
};

struct block;

struct worker { // a thread of a block
    fiber stack;
    block *of = nullptr;
    unsigned index = 0;
    state now = state::ended;
    site waits = {"", 0};
    // What it brings where its warp meets, and takes from there.
    uint64_t value = 0;
    shuffle how = shuffle::of;
    int lane = 0;
    uint32_t words[4] = {}, factors[2] = {};
    float sums[4] = {};
    // Copies not waited for: those of committed groups, oldest first, and those since.
    std::deque<std::vector<copy>> groups;
    std::vector<copy> begun;

    worker &in_warp(unsigned lane) const;
};

struct warp {
    unsigned at_barrier = 0, at_shuffle = 0, barriers = 0;
};

struct block {
    uint32_t number = 0; // among the launch's blocks
    index3 at = {0, 0, 0};
    unsigned ready = 0, ended = 0, at_barrier = 0, barriers = 0;
    std::vector<std::unique_ptr<worker>> threads;
    std::vector<warp> warps;
    std::map<const void *, std::unique_ptr<array>> shared; // by declaration; NULL: dynamic
    size_t static_shared = 0;
};

struct machine {
    const launch *now = nullptr;
    worker *running = nullptr;
    std::vector<std::unique_ptr<block>> blocks; // resident ones
    std::vector<worker *> ready;
    bool failed = false;
    uint64_t random = 1;
};

machine &the_machine();
std::string who(const worker &w); // "scan_f32: block (0,0,0) thread 3"
std::string line_of(site s);      // "(kernels/cuda/scan.cu:12)"
const char *state_text(state s);
// Ends the launch, from a thread's stack, after a finding. The stack is left as it is: nothing on it may own memory.
[[noreturn]] void give_up();
void make_ready(worker &w);

} // namespace bs_emulation

#endif
