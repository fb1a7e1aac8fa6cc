/* A libcuda.so.1 for cudnn_plans.c: it has what cuDNN looks for when it builds a plan, takes what was built, and has no device. */
#include <stdint.h>

#define API __attribute__((visibility("default")))

enum { NO_DEVICE = 100 };
#define NONE(name)                                                                                           \
    API int name(void);                                                                                      \
    int name(void)                                                                                           \
    {                                                                                                        \
        return NO_DEVICE;                                                                                    \
    }
NONE(cuCtxGetCurrent)
NONE(cuCtxGetLimit)
NONE(cuCtxPopCurrent)
NONE(cuCtxPushCurrent)
NONE(cuDeviceGet)
NONE(cuDeviceGetCount)
NONE(cuKernelGetAttribute)
NONE(cuLaunchCooperativeKernel)
NONE(cuLaunchKernel)
NONE(cuLaunchKernelEx)
NONE(cuLibraryLoadFromFile)
NONE(cuLinkAddData)
NONE(cuLinkComplete)
NONE(cuLinkCreate)
NONE(cuLinkDestroy)
NONE(cuOccupancyMaxPotentialClusterSize)
NONE(cuStreamGetCtx)

API int cuDriverGetVersion(int *version);
API int cuGetErrorName(int error, const char **text);
API int cuGetErrorString(int error, const char **text);
API int cuKernelSetAttribute(void);
API int cuLibraryGetKernel(void **kernel);
API int cuLibraryLoadData(void **library);
API int cuLibraryUnload(void);

int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return 0;
}
int cuGetErrorName(int error, const char **text)
{
    *text = error ? "no device" : "success";
    return 0;
}
int cuGetErrorString(int error, const char **text)
{
    return cuGetErrorName(error, text);
}
int cuKernelSetAttribute(void)
{
    return 0;
}
int cuLibraryGetKernel(void **kernel)
{
    *kernel = (void *)(uintptr_t)1;
    return 0;
}
int cuLibraryLoadData(void **library)
{
    *library = (void *)(uintptr_t)1;
    return 0;
}
int cuLibraryUnload(void)
{
    return 0;
}
