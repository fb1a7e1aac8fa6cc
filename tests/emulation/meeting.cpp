// Where threads wait for each other: barriers of the block and of a warp, shuffles, and what the lanes of a warp do together on
// matrices. The last to arrive does what is to be done, and all may go on.
#include "tests/emulation/machine.h"
#include "tests/emulation/findings.h"

#include <string.h>

namespace bs_emulation
{

// The running thread waits; returns when someone made it ready and its turn came.
static void wait(state what, site where)
{
    worker &w = *the_machine().running;
    w.now = what;
    w.waits = where;
    w.stack.leave(false);
}

// All arrived; did they arrive at the same place?
static bool same_place(const worker &w, const char *kind, const worker &other)
{
    if (w.waits.line == other.waits.line && strcmp(w.waits.file, other.waits.file) == 0)
        return true;
    add_finding(kind, who(w) + " " + state_text(w.now) + " " + line_of(w.waits) +
                          format(" while thread %u waits elsewhere ", other.index) + line_of(other.waits));
    return false;
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
        if (!same_place(w, "barrier", *o))
            give_up();
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
    for (unsigned i = 0; i < lanes; i++)
        if (!same_place(w, kind, w.in_warp(i)))
            give_up();
    arrived = 0;
    meet();
    for (unsigned i = 0; i < lanes; i++)
        make_ready(w.in_warp(i));
    w.stack.leave(false);
}

void warp_barrier(site where)
{
    worker &w = *the_machine().running;
    warp &of = w.of->warps[w.index / lanes];
    gather(of.at_barrier, state::at_warp_barrier, "warp barrier", where, [&] { of.barriers++; });
}

uint64_t exchange(uint64_t value, shuffle how, int lane, site where)
{
    worker &w = *the_machine().running;
    w.value = value;
    w.how = how;
    w.lane = lane;
    gather(w.of->warps[w.index / lanes].at_shuffle, state::at_shuffle, "shuffle", where, [&] {
        uint64_t brought[lanes];
        for (unsigned i = 0; i < lanes; i++)
            brought[i] = w.in_warp(i).value;
        for (int i = 0; i < (int)lanes; i++) {
            worker &o = w.in_warp((unsigned)i);
            int from = o.how == shuffle::up       ? i - o.lane
                       : o.how == shuffle::down   ? i + o.lane
                       : o.how == shuffle::across ? i ^ o.lane
                                                  : o.lane & (int)(lanes - 1);
            o.value = from >= 0 && from < (int)lanes ? brought[from] : brought[i];
        }
    });
    return w.value;
}

// Lane l brought row l % 8 of matrix l / 8, and takes a pair of each matrix.
void load_matrices(uint32_t (&word)[4], const void *row, bool transposed, site where)
{
    worker &w = *the_machine().running;
    memcpy(w.words, row, sizeof w.words);
    gather(w.of->warps[w.index / lanes].at_shuffle, state::at_shuffle, "shuffle", where, [&] {
        uint16_t element[4][8][8];
        for (unsigned i = 0; i < lanes; i++)
            memcpy(element[i / 8][i % 8], w.in_warp(i).words, sizeof w.words);
        for (unsigned i = 0; i < lanes; i++)
            for (unsigned m = 0; m < 4; m++) {
                unsigned across = i / 4, along = 2 * (i % 4);
                uint32_t low = transposed ? element[m][along][across] : element[m][across][along];
                uint32_t high = transposed ? element[m][along + 1][across] : element[m][across][along + 1];
                w.in_warp(i).words[m] = low | high << 16;
            }
    });
    memcpy(word, w.words, sizeof w.words);
}

// c (16 x 8) += a (16 x 16) b (16 x 8), spread over the lanes as device.cuh says. Summed in double and rounded once; the hardware
// sums in an order of its own.
void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float (*value)(uint16_t),
                  site where)
{
    worker &w = *the_machine().running;
    memcpy(w.words, a, sizeof w.words);
    memcpy(w.sums, c, sizeof w.sums);
    w.factors[0] = b0;
    w.factors[1] = b1;
    gather(w.of->warps[w.index / lanes].at_shuffle, state::at_shuffle, "shuffle", where, [&] {
        double left[16][16], right[16][8];
        for (unsigned i = 0; i < lanes; i++)
            for (unsigned half = 0; half < 2; half++) {
                const worker &o = w.in_warp(i);
                unsigned row = i / 4, pair = 2 * (i % 4) + half;
                for (unsigned q = 0; q < 4; q++)
                    left[row + 8 * (q % 2)][pair + 8 * (q / 2)] =
                        (double)value((uint16_t)(o.words[q] >> 16 * half));
                for (unsigned q = 0; q < 2; q++)
                    right[pair + 8 * q][row] = (double)value((uint16_t)(o.factors[q] >> 16 * half));
            }
        for (unsigned i = 0; i < lanes; i++)
            for (unsigned q = 0; q < 4; q++) {
                unsigned row = i / 4 + 8 * (q / 2), column = 2 * (i % 4) + q % 2;
                double sum = (double)w.in_warp(i).sums[q];
                for (unsigned k = 0; k < 16; k++)
                    sum += left[row][k] * right[k][column];
                w.in_warp(i).sums[q] = (float)sum;
            }
    });
    memcpy(c, w.sums, sizeof w.sums);
}

} // namespace bs_emulation
