/* Locks the calling process in before it parses a file that nobody vouches for: limits on memory and CPU time, no
   network, no new programs or processes. There is no way back. Linux; call it while there is one thread. */
#ifndef BS_MODEL_WEIGHTS_SANDBOX_H
#define BS_MODEL_WEIGHTS_SANDBOX_H

#include "kernels/base/status.h"

#include <stdint.h>

/* memory_bytes bounds the address space, cpu_seconds the CPU time (0: no bound). Files can still be read and written, so
   open nothing beforehand that must not be reached. BS_EUNSUPPORTED when the system cannot filter system calls: limits
   then hold, the filter does not, and the caller decides. */
bs_status bs_sandbox_enter(uint64_t memory_bytes, uint64_t cpu_seconds, struct bs_err *err) BS_NODISCARD;

#endif
