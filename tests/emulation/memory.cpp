// See memory.h.
#include "tests/emulation/memory.h"
#include "tests/emulation/findings.h"

#include <map>

namespace bs_emulation
{

bool accesses::unordered(const actor &a) const
{
    if (!any)
        return false;
    if (many_blocks || block != a.block)
        return true;
    if (block_barriers != a.block_barriers)
        return false;
    if (many_warps || thread / 32 != a.thread / 32)
        return true;
    return warp_barriers == a.warp_barriers && (many_threads || thread != a.thread);
}

void accesses::become(const actor &a, bool is_atomic)
{
    *this = accesses();
    block = a.block;
    block_barriers = a.block_barriers;
    warp_barriers = a.warp_barriers;
    thread = a.thread;
    any = true;
    atomic = is_atomic;
}

void accesses::add(const actor &a)
{
    if (!any) {
        become(a, atomic);
    } else if (block != a.block) {
        many_blocks = true;
    } else if (many_blocks) {
        return;
    } else if (block_barriers != a.block_barriers) {
        become(a, atomic);
    } else if (thread / 32 != a.thread / 32) {
        many_warps = true;
    } else if (!many_warps && warp_barriers != a.warp_barriers) {
        become(a, atomic);
    } else if (thread != a.thread) {
        many_threads = true;
    }
}

namespace
{

constexpr uint64_t first_address = 0x0a00000000000000, gap = 1 << 20, alignment_of_all = 512;

struct pool {
    std::map<uint64_t, std::unique_ptr<array>> all; // by base; freed ones stay, without their bytes
    uint64_t next = first_address;
    size_t bytes = 0, count = 0, number = 0;
    std::vector<array *> traced; // global arrays with pages
    std::vector<trace *> spare;
    array *last = nullptr; // what find_allocation found last
    ~pool()
    {
        all.clear();
        for (trace *t : spare)
            delete[] t;
    }
};

pool &memory_pool()
{
    static pool p;
    return p;
}

trace *new_page()
{
    pool &p = memory_pool();
    if (p.spare.empty())
        return new trace[array::page_traces];
    trace *page = p.spare.back();
    p.spare.pop_back();
    std::fill(page, page + array::page_traces, trace());
    return page;
}

} // namespace

array::array(std::string n, uint64_t b, size_t size, bool is_shared)
    : name(std::move(n)), base(b), bytes(size), live(true), shared(is_shared), data(new uint8_t[size + 1]),
      written(new uint8_t[size + 1]())
{
    memset(data.get(), 0xff, size); // NaN in every element type
}

array::~array()
{
    for (trace *t : pages)
        delete[] t;
}

void array::forget_traces()
{
    for (trace *&t : pages)
        if (t) {
            memory_pool().spare.push_back(t);
            t = nullptr;
        }
}

uint64_t allocate(size_t bytes)
{
    pool &p = memory_pool();
    uint64_t base = p.next;
    p.next += (bytes + gap + alignment_of_all - 1) / alignment_of_all * alignment_of_all;
    p.all[base] = std::make_unique<array>(format("allocation %zu", ++p.number), base, bytes, false);
    p.bytes += bytes;
    p.count++;
    return base;
}

bool deallocate(uint64_t address)
{
    pool &p = memory_pool();
    auto at = p.all.find(address);
    if (at == p.all.end() || !at->second->live)
        return false;
    array &a = *at->second;
    a.live = false;
    a.data.reset();
    a.written.reset();
    p.bytes -= a.bytes;
    p.count--;
    return true;
}

void deallocate_all()
{
    for (auto &a : memory_pool().all)
        deallocate(a.first);
}

size_t allocated_bytes()
{
    return memory_pool().bytes;
}

size_t allocation_count()
{
    return memory_pool().count;
}

array *find_allocation(uint64_t address)
{
    pool &p = memory_pool();
    if (p.last && address >= p.last->base && address <= p.last->base + p.last->bytes)
        return p.last;
    auto at = p.all.upper_bound(address);
    if (at == p.all.begin())
        return nullptr;
    array *a = std::prev(at)->second.get();
    if (address > a->base + a->bytes)
        return nullptr;
    return p.last = a;
}

void forget_all_traces()
{
    for (array *a : memory_pool().traced)
        a->forget_traces();
    memory_pool().traced.clear();
}

std::string place_in(const array &a, int64_t offset)
{
    return format("byte %lld of %s (%zu bytes)", (long long)offset, a.name.c_str(), a.bytes);
}

// Two threads touched these bytes and nothing says in which order.
static const char *race(const array &a, int64_t offset, const accesses &before, const char *did, access how,
                        const actor &who, std::string *text)
{
    const char *does = how == access::read ? "reads" : how == access::write ? "writes" : "adds to";
    bool other_block = before.many_blocks || before.block != who.block;
    *text = format("%s %s, which ", does, place_in(a, offset).c_str());
    if (other_block)
        *text += format("block %u%s %s in the same launch", before.block,
                        before.many_blocks ? " and others" : "", did);
    else
        *text += format("thread %u%s %s with no barrier between", before.thread,
                        before.many_threads || before.many_warps ? " and others" : "", did);
    return other_block ? "race between blocks" : "race";
}

static inline __attribute__((always_inline)) const char *note(array &a, int64_t offset, trace &t, access how,
                                                              const actor &who, std::string *text)
{
    if (how != access::atomic && (!t.writes.any || t.writes.only(who)) && t.reads.only(who)) {
        if (how == access::write) {
            t.writes.become(who, false);
            t.reads = accesses();
        }
        return ""; // nobody else was here
    }
    bool atomics = how == access::atomic && t.writes.any && t.writes.atomic;
    if (!atomics && t.writes.unordered(who))
        return race(a, offset, t.writes, t.writes.atomic ? "added to" : "wrote", how, who, text);
    if (how == access::read) {
        t.reads.add(who);
        return "";
    }
    if (t.reads.unordered(who))
        return race(a, offset, t.reads, "read", how, who, text);
    if (how == access::write) {
        t.writes.become(who, false);
        t.reads = accesses();
    } else if (atomics) {
        t.writes.add(who);
    } else if (!t.writes.any || t.writes.block_barriers != who.block_barriers ||
               t.writes.warp_barriers != who.warp_barriers || t.writes.thread != who.thread) {
        t.writes.become(who, true);
    } // else its own plain write, which others may not mix with their adding either: that stays noted
    return "";
}

const char *check(array *memory, int64_t offset, unsigned bytes, unsigned alignment, access how,
                  const actor &who, std::string *text)
{
    const char *does = how == access::read ? "reads" : how == access::write ? "writes" : "adds to";
    if (!memory) {
        *text = format("%s %u bytes at address 0x%llx, where no allocation is", does, bytes,
                       (unsigned long long)offset);
        return "no memory";
    }
    array &a = *memory;
    if (!a.live) {
        *text = format("%s %s, which was freed", does, place_in(a, offset).c_str());
        return "freed memory";
    }
    if (offset < 0 || (uint64_t)offset + bytes > a.bytes) {
        *text = format("%s %u bytes at %s", does, bytes, place_in(a, offset).c_str());
        return how == access::read ? "read outside" : "write outside";
    }
    if (offset % alignment != 0) {
        *text = format("%s %u bytes at once at %s, not a multiple of %u", does, bytes,
                       place_in(a, offset).c_str(), alignment);
        return "misaligned";
    }
    const uint8_t *written = &a.written[(size_t)offset];
    uint32_t state = 0; // of four bytes, the most common
    if (bytes == 4)
        memcpy(&state, written, 4);
    if (state != 0x01010101 && !(state == 0 && bytes == 4 && how == access::write))
        for (unsigned k = 0; k < bytes; k++) {
            if (written[k] == array::under_way) {
                *text = format("%s %s, which a copy writes that was not waited for", does,
                               place_in(a, offset + k).c_str());
                return "race";
            }
            if (how != access::write && !written[k]) {
                *text = format("%s %s, which nothing wrote before", does, place_in(a, offset + k).c_str());
                return "never written";
            }
        }
    // An access is aligned and at most 16 bytes: all of it lies in one page.
    if (a.pages.empty())
        a.pages.resize(a.bytes / array::page_bytes + 1);
    trace *&page = a.pages[(size_t)offset / array::page_bytes];
    if (!page) {
        page = new_page();
        if (!a.shared && (memory_pool().traced.empty() || memory_pool().traced.back() != &a))
            memory_pool().traced.push_back(&a);
    }
    trace *t = page + (size_t)offset % array::page_bytes / 2;
    for (unsigned k = 0; k < bytes; k += 2) {
        const char *kind = note(a, offset + k, *t++, how, who, text);
        if (*kind)
            return kind;
    }
    if (how == access::write)
        memset(&a.written[(size_t)offset], 1, bytes);
    return "";
}

} // namespace bs_emulation
