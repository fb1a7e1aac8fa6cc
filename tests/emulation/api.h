// How the driver's functions are written here: exported under their names, one at a time, and refused when the driver was not started
// or the device is lost.
#ifndef BS_TESTS_EMULATION_API_H
#define BS_TESTS_EMULATION_API_H

#include "tests/emulation/context.h"
#include "tests/emulation/control.h"

#define API(name, ...) extern "C" BS_EMULATION_API bs__cu_result name(__VA_ARGS__)
#define BEGIN(needs_context)                                                                                 \
    std::lock_guard<nested_lock> guard(the_state().lock);                                                    \
    if (int refused = ready(needs_context))                                                                  \
    return refused

namespace bs_emulation
{

// What a handle stands for; NULL when it stands for nothing (any more). The default stream, NULL, is not emulated.
stream *stream_of(bs__cu_stream s);
event *event_of(bs__cu_event e);
// A capture breaks when a function is called that would not be part of it: the error to answer, or 0 when nothing is captured.
int break_captures();
// Bytes of shared memory that a block may ask for.
int shared_opt_in(int capability);

} // namespace bs_emulation

#endif
