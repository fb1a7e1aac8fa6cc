/* Fuzzes the reader of PyTorch checkpoints, both formats, pickle and all: opens the input and reads every tensor that is
   not absurdly large. Nothing may be executed, so a file of this name must never appear. */
#include "model/weights/torch_checkpoint.h"
#include "tests/fuzz/input_file.h"

#include <stdlib.h>
#include <unistd.h>

#define LARGEST ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bs_torch_checkpoint *c = NULL;
    static unsigned runs;
    if (bs_torch_checkpoint_open_fd(bs_fuzz_file(data, size), &c, NULL) == BS_OK) {
        for (size_t i = 0; i < bs_torch_checkpoint_count(c); i++) {
            const size_t bytes = bs_shape_count(bs_torch_checkpoint_shape(c, i)) *
                                 bs_dtype_size(bs_torch_checkpoint_dtype(c, i));
            unsigned char *values = bytes <= LARGEST ? malloc(bytes ? bytes : 1) : NULL;
            if (values)
                (void)!bs_torch_checkpoint_read(c, i, values, bytes, NULL);
            free(values);
        }
        for (size_t i = 0; i < bs_torch_checkpoint_skipped_count(c); i++)
            if (!bs_torch_checkpoint_skipped(c, i)[0])
                abort();
    }
    bs_torch_checkpoint_close(c);
    if (runs++ % 4096 == 0 && access("HOSTILE_WAS_EXECUTED", F_OK) == 0)
        abort();
    return 0;
}
