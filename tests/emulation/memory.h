// Arrays that kernels reach, and who touched which bytes: bounds, values never written, races. An array is an allocation of the
// device (global) or one in a block's shared memory. Under the one lock of the fake driver.
#ifndef BS_TESTS_EMULATION_MEMORY_H
#define BS_TESTS_EMULATION_MEMORY_H

#include "kernels/cuda/device.cuh"

#include <memory>
#include <string>
#include <vector>

namespace bs_emulation
{

// Who reads and writes: a thread and how far its block and its warp came.
struct actor {
    uint32_t block, block_barriers, warp_barriers;
    uint16_t thread;
};

// Accesses of one sort (reads, or writes) to two neighbouring bytes during one launch, no more of them than is needed to tell
// whether a later access is ordered after all of them: those before the last barrier are.
struct accesses {
    uint32_t block = 0, block_barriers = 0, warp_barriers = 0;
    uint16_t thread = 0;
    bool any : 1, atomic : 1, many_threads : 1, many_warps : 1, many_blocks : 1;
    accesses() : any(false), atomic(false), many_threads(false), many_warps(false), many_blocks(false)
    {
    }
    // a's own, of the same stretch between barriers, and nobody else's.
    bool only(const actor &a) const
    {
        return block == a.block && block_barriers == a.block_barriers && warp_barriers == a.warp_barriers &&
               thread == a.thread && any && !many_threads && !many_warps && !many_blocks;
    }
    bool unordered(const actor &a) const; // some of these are neither a's own nor before it
    void add(const actor &a);
    void become(const actor &a, bool is_atomic);
};

struct trace {
    accesses writes, reads;
};

struct array {
    std::string name; // "allocation 3", "shared array tile"
    uint64_t base;    // address; 0 for shared memory
    size_t bytes;
    bool live, shared;
    std::unique_ptr<uint8_t[]> data,
        written; // written: for each byte 0, 1, or under_way: a copy will write it
    static constexpr uint8_t under_way = 2;
    // Traces of pieces of page_bytes; a global array's are made when touched and dropped when the launch ends.
    static constexpr size_t page_bytes = 1024, page_traces = page_bytes / 2;
    std::vector<trace *> pages;

    array(std::string name, uint64_t base, size_t bytes, bool shared);
    ~array();
    void forget_traces(); // a launch ended, or a block
};

// Device memory. Addresses are never used twice, so that what was freed is told apart from what lives, and gaps lie between.
uint64_t allocate(size_t bytes);
bool deallocate(uint64_t address);
void deallocate_all();
size_t allocated_bytes();
size_t allocation_count();
array *find_allocation(uint64_t address); // holds the address, or ends there
void forget_all_traces();                 // of the launch that ended
std::string place_in(const array &a, int64_t offset);

// What is wrong with an access, if anything: the kind, and text about the array; "" when all is well. Notes the access.
const char *check(array *memory, int64_t offset, unsigned bytes, unsigned alignment, access how,
                  const actor &who, std::string *text);

} // namespace bs_emulation

#endif
