/* What the fake libcuda.so.1 exports besides the driver's functions, for tests: what the emulation found, and work that the
   test's own fakes (of cuBLASLt, cuDNN) put on a stream. Looked up with dlsym; a real driver has none of these. Not to be
   called while another thread is in the driver. */
#ifndef BS_TESTS_EMULATION_CONTROL_H
#define BS_TESTS_EMULATION_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BS_EMULATION_API __attribute__((visibility("default")))

/* Kinds of findings:
   "read outside", "write outside", "misaligned", "never written", "freed memory", "no memory" (address of nothing),
   "race", "race between blocks", "barrier", "warp barrier", "shuffle" (not reached by all), "block too large",
   "shared memory" (more than allowed), "grid", "arguments", "copy" (a copy or fill outside an allocation), "stream" (waits for
   what no one will do), "leak" (left at the release of the context). */
BS_EMULATION_API int bs_emulation_finding_count(void);
BS_EMULATION_API const char *bs_emulation_finding_kind(int i);
BS_EMULATION_API const char *bs_emulation_finding_text(int i);
BS_EMULATION_API void bs_emulation_forget(void);

/* The order in which threads, blocks and streams take turns; read from BS_EMULATION_SEED at cuInit. */
BS_EMULATION_API void bs_emulation_seed(uint64_t seed);

/* Queues a call on a stream; it runs when the work before it ran. It returns 0 or an error of the driver. Returns likewise.
   Works while the stream is captured too. */
BS_EMULATION_API int bs_emulation_queue(void *stream, int (*call)(void *context), void *context,
                                        void (*destroy)(void *context));
/* The host's bytes of device memory for such a call, checked: within one allocation, written before (read) or marked as
   written (write). NULL after a finding. */
BS_EMULATION_API const void *bs_emulation_read(uint64_t address, size_t bytes);
BS_EMULATION_API void *bs_emulation_write(uint64_t address, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
