// Changes to a kernel that can be switched on one at a time, so that one compiled file holds them all: mutate.py puts these words
// into a copy of the source, and BS_MUTANT names the one that is on. With none on, the copy does what the source does.
#ifndef BS_TESTS_EMULATION_MUTANT_H
#define BS_TESTS_EMULATION_MUTANT_H

#include <stdlib.h>

namespace bs_mutation
{

inline int active()
{
    static const int number = getenv("BS_MUTANT") ? atoi(getenv("BS_MUTANT")) : 0;
    return number;
}

// a < b becomes a < relation{k, '<'} < b: parsed as before, since all four relations bind alike.
struct relation {
    int number;
    char is; // '<', '>', and 'l', 'g' for <= and >=
};
template <class T> struct half {
    T left;
    relation r;
};
template <class T> inline half<T> operator<(T left, relation r)
{
    return {left, r};
}
template <class T, class U> inline bool operator<(half<T> h, U right)
{
    bool changed = active() == h.r.number;
    switch (h.r.is) {
    case '<':
        return changed ? h.left <= right : h.left < right;
    case '>':
        return changed ? h.left >= right : h.left > right;
    case 'l':
        return changed ? h.left < right : h.left <= right;
    default:
        return changed ? h.left > right : h.left >= right;
    }
}

// The 1 of `+ 1` and `- 1`.
inline int one(int number)
{
    return active() == number ? 0 : 1;
}
// Added to where a loop begins.
inline int shift(int number)
{
    return active() == number ? 1 : 0;
}
inline bool keeps(int number)
{
    return active() != number;
}

} // namespace bs_mutation

#endif
