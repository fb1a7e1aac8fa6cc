// Streams and events. Nothing runs when it is queued: at a wait the work of all streams runs in a drawn order that respects streams
// and events, so that a wait that is missing shows.
#include "tests/emulation/api.h"
#include "tests/emulation/findings.h"
#include "tests/emulation/memory.h"
#include "tests/emulation/scheduler.h"

#include <algorithm>
#include <time.h>

using namespace bs_emulation;

stream *bs_emulation::stream_of(bs__cu_stream s)
{
    stream *p = reinterpret_cast<stream *>(s);
    return the_state().streams.count(p) ? p : nullptr;
}

event *bs_emulation::event_of(bs__cu_event e)
{
    event *p = reinterpret_cast<event *>(e);
    return the_state().events.count(p) ? p : nullptr;
}

namespace bs_emulation
{

int queue(stream *s, operation o)
{
    if (!the_state().streams.count(s))
        return BS__CU_INVALID_HANDLE;
    if (!s->captured) {
        s->work.push_back(std::move(o));
        return 0;
    }
    if (s->captured->broken)
        return BS__CU_CAPTURE_INVALIDATED;
    if (s != s->captured->origin)
        s->captured->unjoined.insert(s);
    s->captured->made->work.push_back(std::move(o));
    return 0;
}

int run_until(const std::function<bool()> &done)
{
    driver_state &st = the_state();
    while (!done()) {
        std::vector<stream *> can;
        for (stream *s : st.streams)
            if (!s->work.empty() &&
                (!s->work.front().waits || s->work.front().waits->passed >= s->work.front().times))
                can.push_back(s);
        if (can.empty()) {
            add_finding("stream", "waits for work that nothing will do");
            return BS__CU_UNKNOWN;
        }
        // The set is in the order of addresses, which differ from run to run.
        std::sort(can.begin(), can.end(), [](stream *a, stream *b) { return a->number < b->number; });
        stream *s = can[draw(can.size())];
        operation o = std::move(s->work.front());
        s->work.pop_front();
        int error = o.run();
        if (st.sticky)
            return st.sticky;
        if (error) { // what comes after would work on what is not there
            s->error = error;
            auto rest = std::move(s->work);
            s->work.clear();
            for (operation &left : rest) // events pass all the same, so that nobody waits for ever
                if (left.waits == nullptr && left.times)
                    left.run();
        }
    }
    return 0;
}

static int take_error(stream *s)
{
    int error = s->error;
    s->error = 0;
    return error;
}

} // namespace bs_emulation

static double milliseconds()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

API(cuStreamCreate, bs__cu_stream *s, unsigned flags)
{
    BEGIN(true);
    if (flags > BS__CU_STREAM_NON_BLOCKING)
        return BS__CU_INVALID_VALUE;
    static uint64_t number = 0;
    stream *made = new stream;
    made->number = number++;
    the_state().streams.insert(made);
    *s = reinterpret_cast<bs__cu_stream>(made);
    return 0;
}

// A capture does not allow what waits.
static int refuse_in_capture(stream *s)
{
    if (!s->captured)
        return 0;
    s->captured->broken = true;
    return BS__CU_CAPTURE_UNSUPPORTED;
}

API(cuStreamSynchronize, bs__cu_stream on)
{
    BEGIN(true);
    stream *s = stream_of(on);
    if (!s)
        return BS__CU_INVALID_HANDLE;
    if (int refused = refuse_in_capture(s))
        return refused;
    int error = run_until([s] { return s->work.empty(); });
    return error ? error : take_error(s);
}

API(cuStreamDestroy_v2, bs__cu_stream on)
{
    BEGIN(true);
    stream *s = stream_of(on);
    if (!s)
        return BS__CU_INVALID_HANDLE;
    int error = run_until([s] { return s->work.empty(); });
    the_state().streams.erase(s);
    delete s;
    return error;
}

// Asking makes some progress, or a program that asks until it is done would never end.
static int run_some(const std::function<bool()> &done)
{
    int turns = 0, most = (int)draw(3);
    return run_until([&] { return done() || turns++ >= most; });
}

API(cuStreamQuery, bs__cu_stream on)
{
    BEGIN(true);
    stream *s = stream_of(on);
    if (!s)
        return BS__CU_INVALID_HANDLE;
    if (int refused = refuse_in_capture(s))
        return refused;
    if (int error = run_some([s] { return s->work.empty(); }))
        return error;
    return s->work.empty() ? take_error(s) : (int)BS__CU_NOT_READY;
}

API(cuCtxSynchronize, void)
{
    BEGIN(true);
    driver_state &st = the_state();
    if (int refused = break_captures())
        return refused;
    int error = run_until([&st] {
        for (stream *s : st.streams)
            if (!s->work.empty())
                return false;
        return true;
    });
    for (stream *s : st.streams)
        if (!error)
            error = take_error(s);
    return error;
}

API(cuStreamWaitEvent, bs__cu_stream on, bs__cu_event e, unsigned flags)
{
    BEGIN(true);
    stream *s = stream_of(on);
    event *ev = event_of(e);
    if (!s || !ev || flags != 0)
        return BS__CU_INVALID_HANDLE;
    if (ev->captured) {
        if (s->captured && s->captured != ev->captured)
            return BS__CU_CAPTURE_UNSUPPORTED;
        s->captured = ev->captured;
        s->captured->streams.insert(s);
        if (s == s->captured->origin)
            s->captured->unjoined.clear();
        return 0; // the capture's order is one in which it may run
    }
    if (s->captured) {
        s->captured->broken = true;
        return BS__CU_CAPTURE_UNSUPPORTED;
    }
    if (ev->recorded == 0 || the_state().plan.deaf)
        return 0;
    operation wait = {[] { return 0; }, ev, ev->recorded};
    return queue(s, std::move(wait));
}

API(cuEventCreate, bs__cu_event *e, unsigned flags)
{
    BEGIN(true);
    if (flags > (BS__CU_EVENT_BLOCKING_SYNC | BS__CU_EVENT_DISABLE_TIMING))
        return BS__CU_INVALID_VALUE;
    event *made = new event;
    made->timing = !(flags & BS__CU_EVENT_DISABLE_TIMING);
    the_state().events.insert(made);
    *e = reinterpret_cast<bs__cu_event>(made);
    return 0;
}

API(cuEventDestroy_v2, bs__cu_event e)
{
    BEGIN(true);
    event *ev = event_of(e);
    if (!ev)
        return BS__CU_INVALID_HANDLE;
    // Work may still wait for it; the driver keeps it until then.
    int error = run_until([ev] { return ev->passed >= ev->recorded; });
    for (stream *s : the_state().streams)
        for (operation &o : s->work)
            if (o.waits == ev)
                o.waits = nullptr;
    the_state().events.erase(ev);
    delete ev;
    return error;
}

API(cuEventRecord, bs__cu_event e, bs__cu_stream on)
{
    BEGIN(true);
    event *ev = event_of(e);
    stream *s = stream_of(on);
    if (!ev || !s)
        return BS__CU_INVALID_HANDLE;
    if (s->captured) {
        ev->captured = s->captured;
        return s->captured->broken ? (int)BS__CU_CAPTURE_INVALIDATED : 0;
    }
    ev->captured = nullptr;
    uint64_t times = ++ev->recorded;
    operation record = {[ev, times] {
                            ev->passed = times;
                            ev->when = milliseconds();
                            return 0;
                        },
                        nullptr, times};
    return queue(s, std::move(record));
}

API(cuEventSynchronize, bs__cu_event e)
{
    BEGIN(true);
    event *ev = event_of(e);
    if (!ev)
        return BS__CU_INVALID_HANDLE;
    if (ev->captured)
        return BS__CU_CAPTURED_EVENT;
    if (int error = run_until([ev] { return ev->passed >= ev->recorded; }))
        return error;
    for (stream *s : the_state().streams) // the driver answers with errors of any work before
        if (s->error)
            return take_error(s);
    return 0;
}

API(cuEventQuery, bs__cu_event e)
{
    BEGIN(true);
    event *ev = event_of(e);
    if (!ev)
        return BS__CU_INVALID_HANDLE;
    if (ev->captured)
        return BS__CU_CAPTURED_EVENT;
    if (int error = run_some([ev] { return ev->passed >= ev->recorded; }))
        return error;
    return ev->passed >= ev->recorded ? 0 : (int)BS__CU_NOT_READY;
}

API(cuEventElapsedTime, float *elapsed, bs__cu_event from, bs__cu_event to)
{
    BEGIN(true);
    event *a = event_of(from), *b = event_of(to);
    if (!a || !b || !a->timing || !b->timing || !a->recorded || !b->recorded)
        return BS__CU_INVALID_HANDLE;
    if (a->passed < a->recorded || b->passed < b->recorded)
        return BS__CU_NOT_READY;
    *elapsed = (float)(b->when - a->when);
    return 0;
}

void bs_emulation_seed(uint64_t seed)
{
    std::lock_guard<nested_lock> guard(the_state().lock);
    seed_order(seed);
}

int bs_emulation_queue(void *on, int (*call)(void *context), void *context, void (*destroy)(void *context))
{
    BEGIN(true);
    std::shared_ptr<void> kept(context, [destroy](void *p) {
        if (destroy)
            destroy(p);
    });
    return queue(stream_of(static_cast<bs__cu_stream>(on)), {[call, kept] { return call(kept.get()); }});
}
