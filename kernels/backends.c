/* Which backends this build has. The CPU backend lives in cpu/ and defines its own function when it is built; the CUDA
   backend is a plugin that is looked for at run time. */
#include "kernels/backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN "libbioseg-cuda.so"

#ifndef BS_WITH_ONEDNN
const struct bs_backend_i *bs_backend_cpu(void)
{
    return NULL;
}
#endif

/* ../lib/bioseg/libbioseg-cuda.so, seen from the program; false where that is not known or too long. */
static bool plugin_beside_program(char *path, size_t len)
{
    char program[4096];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0)
        return false;
    program[n] = '\0';
    for (int up = 0; up < 2; up++) { /* the program's name, then its folder */
        char *slash = strrchr(program, '/');
        if (!slash)
            return false;
        *slash = '\0';
    }
    const int written = snprintf(path, len, "%s/lib/bioseg/" PLUGIN, program);
    return written > 0 && (size_t)written < len;
}

const struct bs_backend_i *bs_backend_cuda(struct bs_err *err)
{
    char path[4096] = "";
    const char *named = secure_getenv("BS_CUDA_PLUGIN");
    union {
        void *object; /* what dlsym yields; ISO C has no cast from it to a function */
        bs_backend_entry_fn entry;
    } found;
    if (named && named[0])
        snprintf(path, sizeof path, "%s", named);
    else if (!plugin_beside_program(path, sizeof path) || access(path, R_OK) != 0) {
        (void)!BS_FAIL(err, BS_EUNSUPPORTED,
                       "the GPU plugin " PLUGIN " is not installed (it belongs in ../lib/bioseg beside the "
                       "program; BS_CUDA_PLUGIN names another place)");
        return NULL;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        (void)!BS_FAIL(err, BS_EUNSUPPORTED, "the GPU plugin " PLUGIN " does not load: %.300s", dlerror());
        return NULL;
    }
    found.object = dlsym(library, BS_BACKEND_ENTRY);
    const struct bs_backend_i *backend = found.object ? found.entry(BS_BACKEND_ABI) : NULL;
    if (!backend || backend->abi != BS_BACKEND_ABI) {
        (void)!BS_FAIL(err, BS_EUNSUPPORTED,
                       "the GPU plugin " PLUGIN " is of another version than this program (which speaks %u)",
                       BS_BACKEND_ABI);
        dlclose(library); /* nothing of NVIDIA's was opened yet */
        return NULL;
    }
    return backend;
}
