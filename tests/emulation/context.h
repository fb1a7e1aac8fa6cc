// The state of the fake driver: one primary context a device (they share the memory of the one emulated device), its streams and
// what went wrong. One lock over all of it, taken by every exported function.
#ifndef BS_TESTS_EMULATION_CONTEXT_H
#define BS_TESTS_EMULATION_CONTEXT_H

#include "kernels/cuda/driver.h"
#include "tests/emulation/faults.h"

#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <atomic>
#include <mutex>
#include <set>
#include <vector>

namespace bs_emulation
{

struct event {
    uint64_t recorded = 0, passed = 0; // how often it was queued, and ran
    double when = 0;                   // milliseconds, when it last ran
    struct capture *captured = nullptr;
    bool timing = true;
};

struct operation {
    std::function<int()> run; // 0 or an error
    event *waits = nullptr;   // may run when this event has passed so often; NULL: at once
    uint64_t times = 0;
};

// The work that a capture noted, in an order in which it may run.
struct graph {
    std::vector<operation> work;
};

struct capture {
    std::unique_ptr<graph> made;
    bool broken = false;                // something was called that a capture does not allow
    std::set<struct stream *> streams;  // that joined through an event; the origin too
    std::set<struct stream *> unjoined; // ... and did work that the origin has not waited for since
    stream *origin = nullptr;
};

struct stream {
    uint64_t number = 0; // in the order they were made
    std::deque<operation> work;
    capture *captured = nullptr;
    int error = 0; // of its work, not told yet
};

struct graph_exec {
    std::vector<operation> work;
};

// A lock that its holder may take again, and still holds in a forked child (mutant.h): std::recursive_mutex knows its holder by a
// number that the child has not.
class nested_lock
{
  public:
    void lock()
    {
        static thread_local char here;
        if (holder_.load() == &here) {
            depth_++;
            return;
        }
        mutex_.lock();
        holder_.store(&here);
        depth_ = 1;
    }
    void unlock()
    {
        if (--depth_ > 0)
            return;
        holder_.store(nullptr);
        mutex_.unlock();
    }

  private:
    std::mutex mutex_;
    std::atomic<const char *> holder_{nullptr};
    int depth_ = 0; // of the holder's takings
};

struct driver_state {
    nested_lock lock;
    faults plan = {};
    bool initialised = false;
    int references = 0; // of the primary context
    int sticky = 0;     // answered by every call from now on
    uint64_t calls = 0, allocations = 0, host_allocations = 0, launches = 0, runs = 0;
    std::set<stream *> streams;
    std::set<event *> events;
    std::set<capture *> captures;
    std::set<graph *> graphs;
    std::set<graph_exec *> execs;
    std::set<void *> modules;
    std::map<char *, size_t> pinned;
};

driver_state &the_state();
extern thread_local bool context_is_current;

// What a function of the driver answers before it looks at its arguments: 0, or why it cannot work.
int ready(bool needs_context);

// Queues work, or notes it in the capture. `error` of the stream comes to light at a wait.
int queue(stream *s, operation o);
// Runs work of all streams in a drawn order until `done`; an error of the device, or 0.
int run_until(const std::function<bool()> &done);
bool is_pinned(const void *p);

} // namespace bs_emulation

#endif
