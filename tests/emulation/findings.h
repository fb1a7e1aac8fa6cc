// What the emulation found wrong: kernel, block, thread, what kind, which array and where. Kept until a test forgets them.
// Under the one lock of the fake driver.
#ifndef BS_TESTS_EMULATION_FINDINGS_H
#define BS_TESTS_EMULATION_FINDINGS_H

#include <string>
#include <vector>

namespace bs_emulation
{

struct finding {
    const char *kind; // the words in control.h
    std::string text; // one sentence with place and values
};

std::vector<finding> &findings();
void add_finding(const char *kind, const std::string &text);

std::string format(const char *text, ...) __attribute__((format(printf, 1, 2)));

} // namespace bs_emulation

#endif
