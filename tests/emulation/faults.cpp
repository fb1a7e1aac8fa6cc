// See faults.h.
#include "tests/emulation/faults.h"

#include <stdlib.h>

namespace bs_emulation
{

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

faults read_faults()
{
    faults f;
    f.devices = (int)number("BS_FAKE_CUDA_DEVICES", 1);
    f.version = (int)number("BS_FAKE_CUDA_VERSION", 12080);
    f.capability = (int)number("BS_FAKE_CUDA_CAPABILITY", 90);
    f.multiprocessors = (int)number("BS_FAKE_CUDA_MULTIPROCESSORS", 6);
    f.memory = number("BS_FAKE_CUDA_MEMORY", (uint64_t)4 << 30);
    f.fail_init = number("BS_FAKE_CUDA_FAIL_INIT", 0);
    f.fail_alloc = number("BS_FAKE_CUDA_FAIL_ALLOC", 0);
    f.fail_host = number("BS_FAKE_CUDA_FAIL_HOST_ALLOC", 0);
    f.fail_launch = number("BS_FAKE_CUDA_LAUNCH_ERROR", 0);
    f.sticky = number("BS_FAKE_CUDA_STICKY_AT_LAUNCH", 0);
    f.lost = number("BS_FAKE_CUDA_LOST_AT", 0);
    f.deaf = number("BS_FAKE_CUDA_DEAF_STREAMS", 0) != 0;
    f.seed = number("BS_EMULATION_SEED", 1);
    return f;
}

} // namespace bs_emulation
