/* A plugin of another version: it knows no table of the ABI that it is asked for. */
#include "kernels/backend.h"

const struct bs_backend_i *bs_backend_entry(unsigned abi);

__attribute__((visibility("default"))) const struct bs_backend_i *bs_backend_entry(unsigned abi)
{
    (void)abi;
    return NULL;
}
