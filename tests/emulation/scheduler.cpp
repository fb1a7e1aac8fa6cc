// See scheduler.h. A thread runs until it waits (barrier, warp barrier, shuffle) or ends; then one of the threads that can run is
// drawn. Where the last thread arrives the others may go on. A block none of whose threads can go on will never end: that is
// the finding for barriers and shuffles that only some of the threads reach.
#include "tests/emulation/scheduler.h"
#include "tests/emulation/fiber.h"
#include "tests/emulation/findings.h"
#include "tests/emulation/memory.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>

namespace bs_emulation
{

place here;

namespace
{

constexpr unsigned lanes = 32, resident_blocks = 3;
constexpr size_t static_shared_limit = 48 << 10;

enum class state : uint8_t { ready, at_barrier, at_warp_barrier, at_shuffle, ended };

struct block;

struct worker { // a thread of a block
    fiber stack;
    block *of = nullptr;
    unsigned index = 0;
    state now = state::ended;
    site waits = {"", 0};
    uint64_t value = 0; // what it brings to a shuffle, and takes from it
    shuffle how = shuffle::of;
    int lane = 0;
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

machine &the_machine()
{
    static machine m;
    return m;
}

const kernel *&first_kernel()
{
    static const kernel *k = nullptr;
    return k;
}

std::string who(const worker &w)
{
    return format("%s: block (%u,%u,%u) thread %u", the_machine().now->what->name, w.of->at.x, w.of->at.y,
                  w.of->at.z, w.index);
}

std::string line_of(site s)
{
    return format("(%s:%d)", s.file, s.line);
}

[[noreturn]] void abandon(const char *kind, const std::string &text)
{
    add_finding(kind, text);
    machine &m = the_machine();
    m.failed = true;
    m.running->stack.leave(true);
    __builtin_trap();
}

void make_ready(worker &w)
{
    w.now = state::ready;
    w.of->ready++;
    the_machine().ready.push_back(&w);
}

// The running thread waits; returns when someone made it ready and its turn came.
void wait(state what, site where)
{
    worker &w = *the_machine().running;
    w.now = what;
    w.waits = where;
    w.stack.leave(false);
}

void thread_main(void *context)
{
    machine &m = the_machine();
    worker &w = *static_cast<worker *>(context);
    m.now->what->run(m.now->arguments.data());
    w.now = state::ended;
    w.of->ended++;
    w.stack.leave(true);
}

const char *state_text(state s)
{
    switch (s) {
    case state::ready:
        return "runs";
    case state::at_barrier:
        return "waits at a barrier";
    case state::at_warp_barrier:
        return "waits at a warp barrier";
    case state::at_shuffle:
        return "waits at a shuffle";
    case state::ended:
        return "ended";
    }
    return "";
}

// No thread of the block can go on: names one that waits and one that it waits for.
void report_stuck(const block &b)
{
    auto waiting = [&](state s) {
        return std::find_if(b.threads.begin(), b.threads.end(), [&](auto &w) { return w->now == s; });
    };
    auto at = waiting(state::at_shuffle);
    const char *kind = "shuffle";
    if (at == b.threads.end()) {
        at = waiting(state::at_warp_barrier);
        kind = "warp barrier";
    }
    if (at == b.threads.end()) {
        at = waiting(state::at_barrier);
        kind = "barrier";
    }
    const worker &w = **at;
    const worker *other = nullptr;
    for (auto &o : b.threads)
        if (o->now != w.now && (w.now == state::at_barrier || o->index / lanes == w.index / lanes))
            other = o.get();
    std::string text = who(w) + " " + state_text(w.now) + " " + line_of(w.waits);
    if (other) {
        text += format(" for thread %u, which %s", other->index, state_text(other->now));
        if (other->now != state::ended)
            text += " " + line_of(other->waits);
    }
    add_finding(kind, text);
}

// All arrived; they must have arrived at the same place.
void same_place(const worker &w, const char *kind, const worker &other)
{
    if (w.waits.line != other.waits.line || strcmp(w.waits.file, other.waits.file) != 0)
        abandon(kind, who(w) + " " + state_text(w.now) + " " + line_of(w.waits) +
                          format(" while thread %u waits elsewhere ", other.index) + line_of(other.waits));
}

void start_block(block &b, uint32_t number)
{
    machine &m = the_machine();
    const launch &l = *m.now;
    b.number = number;
    b.at = {number % l.grid.x, number / l.grid.x % l.grid.y, number / l.grid.x / l.grid.y};
    b.ended = b.ready = b.at_barrier = b.barriers = 0;
    b.static_shared = 0;
    b.shared.clear();
    b.warps.assign((l.threads + lanes - 1) / lanes, warp());
    while (b.threads.size() < l.threads)
        b.threads.push_back(std::make_unique<worker>());
    b.threads.resize(l.threads);
    for (unsigned i = 0; i < l.threads; i++) {
        worker &w = *b.threads[i];
        w.of = &b;
        w.index = i;
        w.stack.begin(thread_main, &w);
        make_ready(w);
    }
}

void take_turn(worker &w)
{
    machine &m = the_machine();
    here.thread.x = w.index;
    here.block = w.of->at;
    w.of->ready--;
    m.running = &w;
    w.stack.enter();
    m.running = nullptr;
}

bool may_run(const launch &l)
{
    const char *name = l.what->name;
    if (l.arguments.size() != l.what->argument_bytes)
        add_finding("arguments", format("%s: %zu bytes of arguments; it takes %zu", name, l.arguments.size(),
                                        l.what->argument_bytes));
    else if (l.threads > l.what->threads)
        add_finding("block too large", format("%s: blocks of %u threads; its launch bound is %u", name,
                                              l.threads, l.what->threads));
    else if (l.threads % lanes != 0)
        add_finding("block too large",
                    format("%s: blocks of %u threads, not a multiple of %u", name, l.threads, lanes));
    else
        return true;
    return false;
}

} // namespace

kernel::kernel(const char *n, void (*r)(const void *), size_t bytes, unsigned t, const char *f)
    : name(n), run(r), argument_bytes(bytes), threads(t), file(f), next(const_cast<kernel *>(first_kernel()))
{
    first_kernel() = this;
}

const kernel *find_kernel(const char *name)
{
    for (const kernel *k = first_kernel(); k; k = k->next)
        if (strcmp(k->name, name) == 0)
            return k;
    return nullptr;
}

void seed_order(uint64_t seed)
{
    the_machine().random = seed * 2 + 1;
}

uint64_t draw(uint64_t below)
{
    uint64_t &s = the_machine().random; // splitmix64
    uint64_t z = s += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % below;
}

bool run(const launch &l)
{
    machine &m = the_machine();
    m.now = &l;
    m.failed = !may_run(l);
    m.ready.clear();
    here.block_size.x = l.threads;
    here.grid = l.grid;
    // Blocks start in the order first, first + step, ... modulo their number.
    uint64_t count = (uint64_t)l.grid.x * l.grid.y * l.grid.z, first = draw(count), step = 1 + draw(count);
    while (std::gcd(step, count) != 1)
        step++;
    uint64_t started = 0, running = 0;
    auto start_next = [&](block &b) {
        start_block(b, (uint32_t)((first + started++ * step) % count));
        running++;
    };
    while (m.blocks.size() < resident_blocks)
        m.blocks.push_back(std::make_unique<block>());
    for (size_t i = 0; i < resident_blocks && started < count && !m.failed; i++)
        start_next(*m.blocks[i]);
    while (running > 0 && !m.failed) {
        size_t at = draw(m.ready.size());
        worker &w = *m.ready[at];
        m.ready[at] = m.ready.back();
        m.ready.pop_back();
        take_turn(w);
        block &b = *w.of;
        if (m.failed || b.ready > 0)
            continue;
        if (b.ended < l.threads) {
            report_stuck(b);
            m.failed = true;
        } else {
            running--;
            if (started < count)
                start_next(b);
        }
    }
    for (auto &b : m.blocks)
        b->shared.clear();
    forget_all_traces();
    m.now = nullptr;
    return !m.failed;
}

static actor acting(const worker &w)
{
    return {w.of->number, w.of->barriers, w.of->warps[w.index / lanes].barriers, (uint16_t)w.index};
}

void *reach(array *memory, int64_t offset, unsigned bytes, unsigned alignment, access how, site where)
{
    worker &w = *the_machine().running;
    std::string text;
    const char *kind = check(memory, offset, bytes, alignment, how, acting(w), &text);
    if (*kind)
        abandon(kind, who(w) + " " + text + " " + line_of(where));
    return memory->data.get() + offset;
}

array *find(uint64_t address, int64_t *offset)
{
    array *a = find_allocation(address);
    *offset = a ? (int64_t)(address - a->base) : (int64_t)address;
    return a;
}

array *shared_array(const void *key, const char *name, int64_t count, unsigned element)
{
    const launch &l = *the_machine().now;
    worker &w = *the_machine().running;
    std::unique_ptr<array> &a = w.of->shared[key];
    if (!a) {
        size_t bytes = (size_t)count * element;
        w.of->static_shared += (bytes + 15) / 16 * 16;
        if (w.of->static_shared > static_shared_limit || w.of->static_shared + l.shared > l.shared_limit)
            abandon("shared memory",
                    who(w) +
                        format(" has %zu bytes of shared arrays and %zu of dynamic shared memory; %zu and "
                               "together %zu are allowed",
                               w.of->static_shared, l.shared, static_shared_limit, l.shared_limit));
        a = std::make_unique<array>(std::string("shared array ") + name, 0, bytes, true);
    }
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

void barrier(site where)
{
    worker &w = *the_machine().running;
    block &b = *w.of;
    if (++b.at_barrier < b.threads.size())
        return wait(state::at_barrier, where);
    w.now = state::at_barrier;
    w.waits = where;
    for (auto &o : b.threads)
        same_place(w, "barrier", *o);
    b.at_barrier = 0;
    b.barriers++;
    for (auto &o : b.threads)
        if (o.get() != &w)
            make_ready(*o);
    make_ready(w); // like the others: someone else may go first
    w.stack.leave(false);
}

// The lanes of a warp; when the last arrives, `meet` is called and all go on.
template <class Meet>
static void gather(unsigned &arrived, state what, const char *kind, site where, Meet meet)
{
    worker &w = *the_machine().running;
    if (++arrived < lanes)
        return wait(what, where);
    w.now = what;
    w.waits = where;
    std::unique_ptr<worker> *first = &w.of->threads[w.index / lanes * lanes];
    for (unsigned i = 0; i < lanes; i++)
        same_place(w, kind, *first[i]);
    arrived = 0;
    meet(first);
    for (unsigned i = 0; i < lanes; i++)
        make_ready(*first[i]);
    w.stack.leave(false);
}

void warp_barrier(site where)
{
    worker &w = *the_machine().running;
    warp &of = w.of->warps[w.index / lanes];
    gather(of.at_barrier, state::at_warp_barrier, "warp barrier", where,
           [&](std::unique_ptr<worker> *) { of.barriers++; });
}

uint64_t exchange(uint64_t value, shuffle how, int lane, site where)
{
    worker &w = *the_machine().running;
    w.value = value;
    w.how = how;
    w.lane = lane;
    gather(w.of->warps[w.index / lanes].at_shuffle, state::at_shuffle, "shuffle", where,
           [&](std::unique_ptr<worker> *warp_first) {
               uint64_t brought[lanes];
               for (unsigned i = 0; i < lanes; i++)
                   brought[i] = warp_first[i]->value;
               for (int i = 0; i < (int)lanes; i++) {
                   worker &o = *warp_first[i];
                   int from = o.how == shuffle::up       ? i - o.lane
                              : o.how == shuffle::down   ? i + o.lane
                              : o.how == shuffle::across ? i ^ o.lane
                                                         : o.lane & (int)(lanes - 1);
                   o.value = from >= 0 && from < (int)lanes ? brought[from] : brought[i];
               }
           });
    return w.value;
}

} // namespace bs_emulation
