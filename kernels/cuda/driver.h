/* NVIDIA's driver library, opened at run time: our own declarations of the few functions and numbers that are used, all of them
   parts of its stable binary interface. tests/unit/cuda/abi_driver.c compares each with the toolkit's cuda.h.
   The table is constant once opened and may be read from any thread; which threads may call what follows from the driver:
   a context is current to a thread. */
#ifndef BS_KERNELS_CUDA_DRIVER_H
#define BS_KERNELS_CUDA_DRIVER_H

#include "kernels/base/status.h"

#include <stddef.h>
#include <stdint.h>

#ifndef BS__DRIVER_TYPES /* the comparison with cuda.h puts its types here */
typedef int bs__cu_result;
typedef int bs__cu_device;
typedef int bs__cu_device_attribute;
typedef int bs__cu_function_attribute;
typedef int bs__cu_capture_mode;
typedef unsigned long long bs__cu_address;
typedef struct bs__cu_context_s *bs__cu_context;
typedef struct bs__cu_stream_s *bs__cu_stream;
typedef struct bs__cu_event_s *bs__cu_event;
typedef struct bs__cu_module_s *bs__cu_module;
typedef struct bs__cu_function_s *bs__cu_function;
typedef struct bs__cu_graph_s *bs__cu_graph;
typedef struct bs__cu_graph_exec_s *bs__cu_graph_exec;
#endif

/* Results that we tell apart: X(our name, cuda.h's name, number). */
#define BS__DRIVER_RESULTS(X)                                                                                \
    X(BS__CU_SUCCESS, CUDA_SUCCESS, 0)                                                                       \
    X(BS__CU_INVALID_VALUE, CUDA_ERROR_INVALID_VALUE, 1)                                                     \
    X(BS__CU_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY, 2)                                                     \
    X(BS__CU_NOT_INITIALIZED, CUDA_ERROR_NOT_INITIALIZED, 3)                                                 \
    X(BS__CU_STUB_LIBRARY, CUDA_ERROR_STUB_LIBRARY, 34)                                                      \
    X(BS__CU_DEVICE_UNAVAILABLE, CUDA_ERROR_DEVICE_UNAVAILABLE, 46)                                          \
    X(BS__CU_NO_DEVICE, CUDA_ERROR_NO_DEVICE, 100)                                                           \
    X(BS__CU_INVALID_DEVICE, CUDA_ERROR_INVALID_DEVICE, 101)                                                 \
    X(BS__CU_INVALID_IMAGE, CUDA_ERROR_INVALID_IMAGE, 200)                                                   \
    X(BS__CU_INVALID_CONTEXT, CUDA_ERROR_INVALID_CONTEXT, 201)                                               \
    X(BS__CU_NO_BINARY_FOR_GPU, CUDA_ERROR_NO_BINARY_FOR_GPU, 209)                                           \
    X(BS__CU_ECC_UNCORRECTABLE, CUDA_ERROR_ECC_UNCORRECTABLE, 214)                                           \
    X(BS__CU_INVALID_PTX, CUDA_ERROR_INVALID_PTX, 218)                                                       \
    X(BS__CU_UNSUPPORTED_PTX_VERSION, CUDA_ERROR_UNSUPPORTED_PTX_VERSION, 222)                               \
    X(BS__CU_INVALID_HANDLE, CUDA_ERROR_INVALID_HANDLE, 400)                                                 \
    X(BS__CU_NOT_FOUND, CUDA_ERROR_NOT_FOUND, 500)                                                           \
    X(BS__CU_NOT_READY, CUDA_ERROR_NOT_READY, 600)                                                           \
    X(BS__CU_ILLEGAL_ADDRESS, CUDA_ERROR_ILLEGAL_ADDRESS, 700)                                               \
    X(BS__CU_LAUNCH_OUT_OF_RESOURCES, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701)                               \
    X(BS__CU_LAUNCH_TIMEOUT, CUDA_ERROR_LAUNCH_TIMEOUT, 702)                                                 \
    X(BS__CU_CONTEXT_IS_DESTROYED, CUDA_ERROR_CONTEXT_IS_DESTROYED, 709)                                     \
    X(BS__CU_ASSERT, CUDA_ERROR_ASSERT, 710)                                                                 \
    X(BS__CU_HARDWARE_STACK_ERROR, CUDA_ERROR_HARDWARE_STACK_ERROR, 714)                                     \
    X(BS__CU_ILLEGAL_INSTRUCTION, CUDA_ERROR_ILLEGAL_INSTRUCTION, 715)                                       \
    X(BS__CU_MISALIGNED_ADDRESS, CUDA_ERROR_MISALIGNED_ADDRESS, 716)                                         \
    X(BS__CU_INVALID_ADDRESS_SPACE, CUDA_ERROR_INVALID_ADDRESS_SPACE, 717)                                   \
    X(BS__CU_INVALID_PC, CUDA_ERROR_INVALID_PC, 718)                                                         \
    X(BS__CU_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_FAILED, 719)                                                   \
    X(BS__CU_NOT_SUPPORTED, CUDA_ERROR_NOT_SUPPORTED, 801)                                                   \
    X(BS__CU_SYSTEM_NOT_READY, CUDA_ERROR_SYSTEM_NOT_READY, 802)                                             \
    X(BS__CU_SYSTEM_DRIVER_MISMATCH, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, 803)                                 \
    X(BS__CU_CAPTURE_UNSUPPORTED, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 900)                                \
    X(BS__CU_CAPTURE_INVALIDATED, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, 901)                                \
    X(BS__CU_CAPTURE_UNMATCHED, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, 903)                                    \
    X(BS__CU_CAPTURE_UNJOINED, CUDA_ERROR_STREAM_CAPTURE_UNJOINED, 904)                                      \
    X(BS__CU_CAPTURED_EVENT, CUDA_ERROR_CAPTURED_EVENT, 907)                                                 \
    X(BS__CU_UNKNOWN, CUDA_ERROR_UNKNOWN, 999)

/* Attributes, flags and modes. */
#define BS__DRIVER_NUMBERS(X)                                                                                \
    X(BS__CU_MAX_THREADS_PER_BLOCK, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1)                            \
    X(BS__CU_SHARED_PER_BLOCK, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 8)                           \
    X(BS__CU_WARP_SIZE, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 10)                                                   \
    X(BS__CU_MULTIPROCESSORS, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)                                  \
    X(BS__CU_INTEGRATED, CU_DEVICE_ATTRIBUTE_INTEGRATED, 18)                                                 \
    X(BS__CU_PCI_BUS, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, 33)                                                    \
    X(BS__CU_PCI_DEVICE, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, 34)                                              \
    X(BS__CU_L2_BYTES, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 38)                                                \
    X(BS__CU_PCI_DOMAIN, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, 50)                                              \
    X(BS__CU_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75)                             \
    X(BS__CU_CAPABILITY_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76)                             \
    X(BS__CU_SHARED_PER_MULTIPROCESSOR, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 81)        \
    X(BS__CU_SHARED_PER_BLOCK_OPTIN, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 97)              \
    X(BS__CU_FUNCTION_MAX_THREADS, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 0)                               \
    X(BS__CU_FUNCTION_SHARED_BYTES, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, 1)                                  \
    X(BS__CU_FUNCTION_LOCAL_BYTES, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, 3)                                    \
    X(BS__CU_FUNCTION_REGISTERS, CU_FUNC_ATTRIBUTE_NUM_REGS, 4)                                              \
    X(BS__CU_FUNCTION_MAX_DYNAMIC_SHARED, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 8)                \
    X(BS__CU_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING, 1)                                                 \
    X(BS__CU_EVENT_DEFAULT, CU_EVENT_DEFAULT, 0)                                                             \
    X(BS__CU_EVENT_BLOCKING_SYNC, CU_EVENT_BLOCKING_SYNC, 1)                                                 \
    X(BS__CU_EVENT_DISABLE_TIMING, CU_EVENT_DISABLE_TIMING, 2)                                               \
    X(BS__CU_CAPTURE_GLOBAL, CU_STREAM_CAPTURE_MODE_GLOBAL, 0)                                               \
    X(BS__CU_CAPTURE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, 1)                                   \
    X(BS__CU_CAPTURE_RELAXED, CU_STREAM_CAPTURE_MODE_RELAXED, 2)

#define BS__NUMBER(ours, theirs, number) ours = (number),
enum { BS__DRIVER_RESULTS(BS__NUMBER) BS__DRIVER_NUMBERS(BS__NUMBER) };
#undef BS__NUMBER

/* X(member of the table, the symbol that the library exports, parameters). All return bs__cu_result. */
#define BS__DRIVER_FUNCTIONS(X)                                                                              \
    X(init, cuInit, (unsigned flags))                                                                        \
    X(version, cuDriverGetVersion, (int *version))                                                           \
    X(error_name, cuGetErrorName, (bs__cu_result r, const char **name))                                      \
    X(error_string, cuGetErrorString, (bs__cu_result r, const char **text))                                  \
    X(device_count, cuDeviceGetCount, (int *count))                                                          \
    X(device_get, cuDeviceGet, (bs__cu_device * d, int index))                                               \
    X(device_name, cuDeviceGetName, (char *name, int bytes, bs__cu_device d))                                \
    X(device_attribute, cuDeviceGetAttribute, (int *value, bs__cu_device_attribute a, bs__cu_device d))      \
    X(device_memory, cuDeviceTotalMem_v2, (size_t * bytes, bs__cu_device d))                                 \
    X(context_retain, cuDevicePrimaryCtxRetain, (bs__cu_context * c, bs__cu_device d))                       \
    X(context_release, cuDevicePrimaryCtxRelease_v2, (bs__cu_device d))                                      \
    X(context_set, cuCtxSetCurrent, (bs__cu_context c))                                                      \
    X(context_get, cuCtxGetCurrent, (bs__cu_context * c))                                                    \
    X(context_synchronize, cuCtxSynchronize, (void))                                                         \
    X(memory_alloc, cuMemAlloc_v2, (bs__cu_address * at, size_t bytes))                                      \
    X(memory_free, cuMemFree_v2, (bs__cu_address at))                                                        \
    X(memory_info, cuMemGetInfo_v2, (size_t * free, size_t * total))                                         \
    X(host_alloc, cuMemHostAlloc, (void **p, size_t bytes, unsigned flags))                                  \
    X(host_free, cuMemFreeHost, (void *p))                                                                   \
    X(copy_in, cuMemcpyHtoDAsync_v2, (bs__cu_address to, const void *from, size_t n, bs__cu_stream s))       \
    X(copy_out, cuMemcpyDtoHAsync_v2, (void *to, bs__cu_address from, size_t n, bs__cu_stream s))            \
    X(copy_within, cuMemcpyDtoDAsync_v2,                                                                     \
      (bs__cu_address to, bs__cu_address from, size_t n, bs__cu_stream s))                                   \
    X(fill, cuMemsetD8Async, (bs__cu_address at, unsigned char value, size_t bytes, bs__cu_stream s))        \
    X(stream_create, cuStreamCreate, (bs__cu_stream * s, unsigned flags))                                    \
    X(stream_destroy, cuStreamDestroy_v2, (bs__cu_stream s))                                                 \
    X(stream_synchronize, cuStreamSynchronize, (bs__cu_stream s))                                            \
    X(stream_query, cuStreamQuery, (bs__cu_stream s))                                                        \
    X(stream_wait, cuStreamWaitEvent, (bs__cu_stream s, bs__cu_event e, unsigned flags))                     \
    X(event_create, cuEventCreate, (bs__cu_event * e, unsigned flags))                                       \
    X(event_destroy, cuEventDestroy_v2, (bs__cu_event e))                                                    \
    X(event_record, cuEventRecord, (bs__cu_event e, bs__cu_stream s))                                        \
    X(event_synchronize, cuEventSynchronize, (bs__cu_event e))                                               \
    X(event_query, cuEventQuery, (bs__cu_event e))                                                           \
    X(event_elapsed, cuEventElapsedTime, (float *milliseconds, bs__cu_event from, bs__cu_event to))          \
    X(module_load, cuModuleLoadData, (bs__cu_module * m, const void *image))                                 \
    X(module_unload, cuModuleUnload, (bs__cu_module m))                                                      \
    X(module_function, cuModuleGetFunction, (bs__cu_function * f, bs__cu_module m, const char *name))        \
    X(function_attribute, cuFuncGetAttribute, (int *value, bs__cu_function_attribute a, bs__cu_function f))  \
    X(function_set, cuFuncSetAttribute, (bs__cu_function f, bs__cu_function_attribute a, int value))         \
    X(function_parameter, cuFuncGetParamInfo,                                                                \
      (bs__cu_function f, size_t index, size_t * offset, size_t * bytes))                                    \
    X(launch, cuLaunchKernel,                                                                                \
      (bs__cu_function f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,               \
       unsigned block_y, unsigned block_z, unsigned shared, bs__cu_stream s, void **parameters,              \
       void **extra))                                                                                        \
    X(capture_begin, cuStreamBeginCapture_v2, (bs__cu_stream s, bs__cu_capture_mode mode))                   \
    X(capture_end, cuStreamEndCapture, (bs__cu_stream s, bs__cu_graph * g))                                  \
    X(graph_instantiate, cuGraphInstantiateWithFlags,                                                        \
      (bs__cu_graph_exec * e, bs__cu_graph g, unsigned long long flags))                                     \
    X(graph_launch, cuGraphLaunch, (bs__cu_graph_exec e, bs__cu_stream s))                                   \
    X(graph_destroy, cuGraphDestroy, (bs__cu_graph g))                                                       \
    X(graph_exec_destroy, cuGraphExecDestroy, (bs__cu_graph_exec e))

/* A declaration takes no parentheses: NOLINTNEXTLINE(bugprone-macro-parentheses) */
#define BS__MEMBER(member, symbol, parameters) bs__cu_result(*member) parameters;
struct bs__driver {
    void *library;      /* owned */
    int driver_version; /* 1000 * major + 10 * minor of the CUDA that the driver supports */
    BS__DRIVER_FUNCTIONS(BS__MEMBER)
};
#undef BS__MEMBER

/* The oldest driver that runs what our toolkit builds: CUDA 12.8, driver 570. */
#define BS__DRIVER_OLDEST 12080

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the library (file: NULL for the driver's own, "libcuda.so.1"), fills the table and initialises the driver. BS_EUNSUPPORTED
   says what is missing: the library, a function in it, a newer driver; BS_ENOTFOUND: there is no GPU. On success the
   caller closes. The library stays loaded until then; after a close nothing of the table may be called. */
bs_status bs__driver_open(const char *file, struct bs__driver *driver, struct bs_err *err) BS_NODISCARD;
/* Accepts a table that was never opened (zeroes). */
void bs__driver_close(struct bs__driver *driver);

/* BS_OK for success; else BS_ENOMEM (memory of the device ran out), BS_ENOTFOUND (no device), BS_EUNSUPPORTED (image or driver do not fit),
   BS_EIO (the device or the context is lost: bs__driver_lost), BS_EINTERNAL (a wrong call), with the driver's own words
   after what was tried: "cannot run scan_f32: an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS)". */
bs_status bs__driver_check(const struct bs__driver *driver, bs__cu_result r, struct bs_err *err,
                           const char *tried, ...) BS_NODISCARD BS_PRINTF(4, 5);
/* After such a result nothing in this process can use the device any more: a new process may. */
bool bs__driver_lost(bs__cu_result r);

#ifdef __cplusplus
}
#endif

#endif
