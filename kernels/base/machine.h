/* What the machine lets this process use: processors (affinity, cgroup cpu.max), memory (cgroup memory.max), instruction
   sets. Read anew at every call; owns nothing; any thread. */
#ifndef BS_KERNELS_BASE_MACHINE_H
#define BS_KERNELS_BASE_MACHINE_H

#include <stddef.h>

/* Threads that can run at once: processors of the affinity mask, at most the cgroup's quota (a part of a processor
   counts as one). At least 1. */
int bs_machine_threads(void);

/* Bytes that could be allocated now without swapping or hitting a cgroup limit (file cache that can be dropped counts as
   free). SIZE_MAX when the system does not say. */
size_t bs_machine_memory_available(void);

/* The best instruction set that matters to us: "avx512_bf16", "avx512", "avx2", "baseline". */
const char *bs_machine_isa(void);

/* The processor's own name, e.g. "AMD EPYC 9R14"; "unknown processor" when the system does not say. */
void bs_machine_cpu_name(char *name, size_t len);

#endif
