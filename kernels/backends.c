/* Which backends this build has. The CPU backend lives in cpu/ and defines its own function when it is built. */
#include "kernels/backend.h"

#ifndef BS_WITH_ONEDNN
const struct bs_backend_i *bs_backend_cpu(void)
{
    return NULL;
}
#endif
