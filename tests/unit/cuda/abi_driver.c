/* Our declarations of the driver's functions and numbers (kernels/cuda/driver.h) against the toolkit's cuda.h: what does not
   agree does not compile. Running it tells how much was compared. */
#include <cuda.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BS__DRIVER_TYPES
typedef CUresult bs__cu_result;
typedef CUdevice bs__cu_device;
typedef CUdevice_attribute bs__cu_device_attribute;
typedef CUfunction_attribute bs__cu_function_attribute;
typedef CUstreamCaptureMode bs__cu_capture_mode;
typedef CUdeviceptr bs__cu_address;
typedef CUcontext bs__cu_context;
typedef CUstream bs__cu_stream;
typedef CUevent bs__cu_event;
typedef CUmodule bs__cu_module;
typedef CUfunction bs__cu_function;
typedef CUgraph bs__cu_graph;
typedef CUgraphExec bs__cu_graph_exec;
#include "kernels/cuda/driver.h"

/* Where driver.h has a plain type of its own in place of an enum or an address, it is passed alike. */
_Static_assert(sizeof(CUresult) == sizeof(int) && sizeof(CUdevice_attribute) == sizeof(int) &&
                   sizeof(CUfunction_attribute) == sizeof(int) && sizeof(CUstreamCaptureMode) == sizeof(int),
               "enums are passed as int");
_Static_assert(sizeof(CUdeviceptr) == sizeof(unsigned long long) && sizeof(CUdevice) == sizeof(int),
               "addresses and devices");

#define COMPARE(ours, theirs, number) _Static_assert((int)theirs == number, #theirs);
BS__DRIVER_RESULTS(COMPARE)
BS__DRIVER_NUMBERS(COMPARE)
#undef COMPARE

#define COMPARE(member, symbol, parameters)                                                                  \
    _Static_assert(                                                                                          \
        __builtin_types_compatible_p(__typeof__(((struct bs__driver *)0)->member), __typeof__(&symbol)),     \
        #symbol);
BS__DRIVER_FUNCTIONS(COMPARE)
#undef COMPARE

/* cuda.h's macros lead from a name to the version that it declares; the library exports the old ones too. Ours must be that
   version, except where the old one is meant. */
#define AS_TEXT(symbol) #symbol
static bool is_declared_version(const char *ours, const char *theirs)
{
    if (strcmp(ours, theirs) == 0 ||
        strcmp(ours, "cuEventElapsedTime") == 0) /* its second version is of 12.8 */
        return true;
    printf("driver.h asks for %s; cuda.h declares %s\n", ours, theirs);
    return false;
}

int main(void)
{
    int functions = 0, numbers = 0, wrong = 0;
#define COUNT(member, symbol, parameters)                                                                    \
    functions++;                                                                                             \
    wrong += !is_declared_version(#symbol, AS_TEXT(symbol));
    BS__DRIVER_FUNCTIONS(COUNT)
#undef COUNT
#define COUNT(ours, theirs, number) numbers++;
    BS__DRIVER_RESULTS(COUNT)
    BS__DRIVER_NUMBERS(COUNT)
#undef COUNT
    printf("%d functions and %d numbers agree with cuda.h of CUDA %d.%d\n", functions, numbers,
           CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10);
    return functions > 0 && numbers > 0 && wrong == 0 ? 0 : 1;
}
