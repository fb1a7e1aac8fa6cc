// See findings.h and control.h.
#include "tests/emulation/findings.h"
#include "tests/emulation/control.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

namespace bs_emulation
{

std::vector<finding> &findings()
{
    static std::vector<finding> list;
    return list;
}

void add_finding(const char *kind, const std::string &text)
{
    findings().push_back({kind, text});
    if (getenv("BS_EMULATION_STOP")) { // the first is enough: for mutate.py
        fprintf(stderr, "%s: %s\n", kind, text.c_str());
        _exit(1);
    }
}

std::string format(const char *text, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, text);
    vsnprintf(line, sizeof line, text, ap);
    va_end(ap);
    return line;
}

} // namespace bs_emulation

int bs_emulation_finding_count(void)
{
    return (int)bs_emulation::findings().size();
}

const char *bs_emulation_finding_kind(int i)
{
    return bs_emulation::findings().at((size_t)i).kind;
}

const char *bs_emulation_finding_text(int i)
{
    return bs_emulation::findings().at((size_t)i).text.c_str();
}

void bs_emulation_forget(void)
{
    bs_emulation::findings().clear();
}
