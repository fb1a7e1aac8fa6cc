// Changes to a kernel that can be switched on one at a time, so that one compiled file holds them all: mutate.py puts these words
// into a copy of the source. With none on, the copy does what the source does. Where a change would first make a difference (a < that
// finds both sides equal is another than <=), the test forks: in the child the change is on from there, and what becomes of it is
// the answer; the parent goes on without. So what comes before is run once for all changes of a file.
//
// BS_MUTANTS: a file with the numbers to try; BS_MUTANT_ANSWERS: a file that gets a line "number status" for each that was met (the
// child's exit status, 0: the test noticed nothing); BS_MUTANT_SECONDS: what a child may take of a processor.
#ifndef BS_TESTS_EMULATION_MUTANT_H
#define BS_TESTS_EMULATION_MUTANT_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bs_mutation
{

struct trials {
    static constexpr int most = 1 << 14;
    int active = 0;
    bool wanted[most] = {};
    FILE *answers = nullptr;
    rlim_t seconds = 10;

    // Again whenever the library is loaded: a test may open the device more than once.
    trials()
    {
        const char *on = getenv("BS_MUTANT");
        active = on ? atoi(on) : 0; // a child
        const char *from = getenv("BS_MUTANTS"), *to = getenv("BS_MUTANT_ANSWERS"),
                   *limit = getenv("BS_MUTANT_SECONDS");
        FILE *f = from ? fopen(from, "r") : nullptr;
        if (!f || !to || !(answers = fopen(to, "a")))
            return;
        for (int number; fscanf(f, "%d", &number) == 1;)
            if (number > 0 && number < most)
                wanted[number] = true;
        fclose(f);
        f = fopen(to, "r");
        for (int number, status; f && fscanf(f, "%d %d", &number, &status) == 2;)
            if (status != 0)
                wanted[number] = false; // was noticed when the library was there before
        if (f)
            fclose(f);
        if (limit)
            seconds = (rlim_t)atoi(limit);
    }

    void try_from_here(int number)
    {
        wanted[number] = false;
        fflush(nullptr);
        const pid_t child = fork();
        if (child == 0) {
            const struct rlimit limit = {seconds, seconds};
            setrlimit(RLIMIT_CPU, &limit);
            alarm(60 + 20 * (unsigned)seconds); // one that waits takes no time of a processor
            char text[16];
            snprintf(text, sizeof text, "%d", number);
            setenv("BS_MUTANT", text, 1);
            unsetenv("BS_MUTANTS");
            active = number;
            answers = nullptr;
            return;
        }
        int status = -1;
        if (child < 0 || waitpid(child, &status, 0) != child) {
            perror("a change cannot be tried");
            _exit(3);
        }
        fprintf(answers, "%d %d\n", number, status);
        fflush(answers);
    }
};
inline trials here_and_now;

// The change would make a difference now: is it on?
inline bool is_on(int number)
{
    trials &t = here_and_now;
    if (t.answers && number < trials::most && t.wanted[number])
        t.try_from_here(number);
    return t.active == number;
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
    return is != would_be && is_on(h.r.number) ? would_be : is;
}

// The 1 of `+ 1` and `- 1`.
inline int one(int number)
{
    return is_on(number) ? 0 : 1;
}
// Added to where a loop begins.
inline int shift(int number)
{
    return is_on(number) ? 1 : 0;
}
inline bool keeps(int number)
{
    return !is_on(number);
}

} // namespace bs_mutation

#endif
