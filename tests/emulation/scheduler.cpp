// See scheduler.h. A thread runs until it waits (barrier, warp barrier, shuffle) or ends; then one of the threads that can run is
// drawn. Where the last thread arrives the others may go on. A block none of whose threads can go on will never end: that is
// the finding for barriers and shuffles that only some of the threads reach.
#include "tests/emulation/machine.h"
#include "tests/emulation/findings.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace bs_emulation
{

place here;

machine &the_machine()
{
    static machine m;
    return m;
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

[[noreturn]] void give_up()
{
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

worker &worker::in_warp(unsigned in) const
{
    return *of->threads[index / lanes * lanes + in];
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

namespace
{

constexpr unsigned resident_blocks = 3;

const kernel *&first_kernel()
{
    static const kernel *k = nullptr;
    return k;
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

void clear_shared(block &b)
{
    for (auto &a : b.shared)
        if (a.second)
            a.second->forget_traces();
    b.shared.clear();
}

void start_block(block &b, uint32_t number)
{
    machine &m = the_machine();
    const launch &l = *m.now;
    b.number = number;
    b.at = {number % l.grid.x, number / l.grid.x % l.grid.y, number / l.grid.x / l.grid.y};
    b.ended = b.ready = b.at_barrier = b.barriers = 0;
    b.static_shared = 0;
    clear_shared(b);
    b.warps.assign((l.threads + lanes - 1) / lanes, warp());
    while (b.threads.size() < l.threads)
        b.threads.push_back(std::make_unique<worker>());
    b.threads.resize(l.threads);
    for (unsigned i = 0; i < l.threads; i++) {
        worker &w = *b.threads[i];
        w.of = &b;
        w.index = i;
        w.groups.clear();
        w.begun.clear();
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

// BS_EMULATION_LAUNCHES: a file that gets the source files whose kernels are launched (mutate.py asks which tests run which).
static void log_launch(const kernel &k)
{
    static const char *const path = getenv("BS_EMULATION_LAUNCHES");
    static std::set<const char *> logged;
    FILE *log = path && logged.insert(k.name).second ? fopen(path, "a") : nullptr;
    if (log) {
        fprintf(log, "%s\n", k.file);
        fclose(log);
    }
}

bool run(const launch &l)
{
    log_launch(*l.what);
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
        clear_shared(*b);
    forget_all_traces();
    m.now = nullptr;
    return !m.failed;
}

} // namespace bs_emulation
