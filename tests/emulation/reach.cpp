// What threads touch: global memory, shared arrays, copies beside the threads. See device.h for the words and memory.h for the
// checks.
#include "tests/emulation/machine.h"
#include "tests/emulation/findings.h"

#include <string.h>

namespace bs_emulation
{

constexpr size_t static_shared_limit = 48 << 10;

static actor acting(const worker &w)
{
    return {w.of->number, w.of->barriers, w.of->warps[w.index / lanes].barriers, (uint16_t)w.index};
}

// Checks and notes an access; false after a finding.
static bool allowed(array *memory, int64_t offset, unsigned bytes, unsigned alignment, access how, site where)
{
    worker &w = *the_machine().running;
    std::string text;
    const char *kind = check(memory, offset, bytes, alignment, how, acting(w), &text);
    if (*kind)
        add_finding(kind, who(w) + " " + text + " " + line_of(where));
    return !*kind;
}

void *reach(array *memory, int64_t offset, unsigned bytes, unsigned alignment, access how, site where)
{
    if (!allowed(memory, offset, bytes, alignment, how, where))
        give_up();
    return memory->data.get() + offset;
}

array *find(uint64_t address, int64_t *offset)
{
    array *a = find_allocation(address);
    *offset = a ? (int64_t)(address - a->base) : (int64_t)address;
    return a;
}

// A block's array is made when the first of its threads comes to the declaration. NULL after a finding.
static array *make_shared(worker &w, const char *name, size_t bytes)
{
    const launch &l = *the_machine().now;
    w.of->static_shared += (bytes + 15) / 16 * 16;
    if (w.of->static_shared <= static_shared_limit && w.of->static_shared + l.shared <= l.shared_limit)
        return new array(std::string("shared array ") + name, 0, bytes, true);
    add_finding("shared memory",
                who(w) + format(" has %zu bytes of shared arrays and %zu of dynamic shared memory; %zu and "
                                "together %zu are allowed",
                                w.of->static_shared, l.shared, static_shared_limit, l.shared_limit));
    return nullptr;
}

array *shared_array(const void *key, const char *name, int64_t count, unsigned element)
{
    worker &w = *the_machine().running;
    std::unique_ptr<array> &a = w.of->shared[key];
    if (!a)
        a.reset(make_shared(w, name, (size_t)count * element));
    if (!a)
        give_up();
    return a.get();
}

array *shared_dynamic(const char *name)
{
    worker &w = *the_machine().running;
    std::unique_ptr<array> &a = w.of->shared[nullptr];
    if (!a)
        a = std::make_unique<array>(std::string("dynamic shared memory ") + name, 0,
                                    the_machine().now->shared, true);
    return a.get();
}

// A copy may read and write at any time from now until it is waited for: it is checked now and then, and until then no one may touch
// what it writes.
void begin_copy(array *to, int64_t to_offset, array *from, int64_t from_offset, site where)
{
    worker &w = *the_machine().running;
    reach(from, from_offset, 16, 16, access::read, where);
    reach(to, to_offset, 16, 16, access::write, where);
    memset(&to->written[(size_t)to_offset], array::under_way, 16);
    w.begun.push_back({to, from, to_offset, from_offset, where});
}

void commit_copies()
{
    worker &w = *the_machine().running;
    w.groups.push_back(std::move(w.begun));
    w.begun.clear();
}

void wait_for_copies(size_t left)
{
    worker &w = *the_machine().running;
    for (; w.groups.size() > left; w.groups.pop_front())
        for (const copy &c : w.groups.front()) {
            memset(&c.to->written[(size_t)c.to_offset], 0, 16);
            const void *source = reach(c.from, c.from_offset, 16, 16, access::read, c.where);
            memcpy(reach(c.to, c.to_offset, 16, 16, access::write, c.where), source, 16);
        }
}

} // namespace bs_emulation
