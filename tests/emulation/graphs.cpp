// Captures of streams, and the graphs that they become.
#include "tests/emulation/api.h"

using namespace bs_emulation;

API(cuStreamBeginCapture_v2, bs__cu_stream on, bs__cu_capture_mode mode)
{
    BEGIN(true);
    stream *s = stream_of(on);
    if (!s || s->captured || mode < 0 || mode > BS__CU_CAPTURE_RELAXED)
        return BS__CU_INVALID_VALUE;
    capture *c = new capture;
    c->made = std::make_unique<graph>();
    c->origin = s;
    c->streams.insert(s);
    s->captured = c;
    the_state().captures.insert(c);
    return 0;
}

API(cuStreamEndCapture, bs__cu_stream on, bs__cu_graph *g)
{
    BEGIN(true);
    stream *s = stream_of(on);
    *g = nullptr;
    if (!s || !s->captured || s->captured->origin != s)
        return BS__CU_CAPTURE_UNMATCHED;
    capture *c = s->captured;
    int error = c->broken ? BS__CU_CAPTURE_INVALIDATED : !c->unjoined.empty() ? BS__CU_CAPTURE_UNJOINED : 0;
    for (stream *joined : c->streams)
        joined->captured = nullptr;
    for (event *e : the_state().events)
        if (e->captured == c)
            e->captured = nullptr;
    if (!error) {
        graph *made = c->made.release();
        the_state().graphs.insert(made);
        *g = reinterpret_cast<bs__cu_graph>(made);
    }
    the_state().captures.erase(c);
    delete c;
    return error;
}

API(cuGraphInstantiateWithFlags, bs__cu_graph_exec *e, bs__cu_graph g, unsigned long long flags)
{
    BEGIN(true);
    graph *of = reinterpret_cast<graph *>(g);
    if (!the_state().graphs.count(of) || flags != 0)
        return BS__CU_INVALID_VALUE;
    graph_exec *made = new graph_exec{of->work};
    the_state().execs.insert(made);
    *e = reinterpret_cast<bs__cu_graph_exec>(made);
    return 0;
}

API(cuGraphLaunch, bs__cu_graph_exec e, bs__cu_stream on)
{
    BEGIN(true);
    graph_exec *of = reinterpret_cast<graph_exec *>(e);
    if (!the_state().execs.count(of))
        return BS__CU_INVALID_HANDLE;
    for (const operation &o : of->work)
        if (int error = queue(stream_of(on), o))
            return error;
    return 0;
}

API(cuGraphDestroy, bs__cu_graph g)
{
    BEGIN(true);
    graph *of = reinterpret_cast<graph *>(g);
    if (!the_state().graphs.erase(of))
        return BS__CU_INVALID_HANDLE;
    delete of;
    return 0;
}

API(cuGraphExecDestroy, bs__cu_graph_exec e)
{
    BEGIN(true);
    graph_exec *of = reinterpret_cast<graph_exec *>(e);
    if (!the_state().execs.erase(of))
        return BS__CU_INVALID_HANDLE;
    delete of;
    return 0;
}
