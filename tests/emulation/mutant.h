// Changes to a kernel that can be switched on one at a time, so that one compiled file holds them all: mutate.py puts these words
// into a copy of the source, and BS_MUTANT names the one that is on. With none on, the copy does what the source does.
#ifndef BS_TESTS_EMULATION_MUTANT_H
#define BS_TESTS_EMULATION_MUTANT_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

namespace bs_mutation
{

// One of these in each compiled file; a change stands in one file and so in one or more of them.
class notes
{
  public:
    void reached(int number)
    {
        if (path_ && number < most && first_[number] == 0)
            first_[number] = clock() + 1;
    }
    ~notes()
    {
        FILE *f = path_ ? fopen(path_, "a") : nullptr;
        for (int i = 0; f && i < most; i++)
            if (first_[i])
                fprintf(f, "%d %.3f\n", i, (double)first_[i] / CLOCKS_PER_SEC);
        if (f)
            fclose(f);
    }

  private:
    static constexpr int most = 1 << 14;
    const char *path_ = getenv("BS_MUTANT_REACHED");
    clock_t first_[most] = {};
};
static notes noted;

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
template <class T> static inline half<T> operator<(T left, relation r)
{
    return {left, r};
}
template <class T, class U> static inline bool operator<(half<T> h, U right)
{
    bool is = false, would_be = false;
    switch (h.r.is) {
    case '<':
        is = h.left < right, would_be = h.left <= right;
        break;
    case '>':
        is = h.left > right, would_be = h.left >= right;
        break;
    case 'l':
        is = h.left <= right, would_be = h.left < right;
        break;
    default:
        is = h.left >= right, would_be = h.left > right;
    }
    if (is != would_be)
        noted.reached(h.r.number);
    return active() == h.r.number ? would_be : is;
}

// The 1 of `+ 1` and `- 1`.
static inline int one(int number)
{
    noted.reached(number);
    return active() == number ? 0 : 1;
}
// Added to where a loop begins.
static inline int shift(int number)
{
    noted.reached(number);
    return active() == number ? 1 : 0;
}
static inline bool keeps(int number)
{
    noted.reached(number);
    return active() != number;
}

} // namespace bs_mutation

#endif
