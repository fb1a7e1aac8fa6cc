/* What we ask of cuDNN (kernels/cuda/cudnn_attention.c) put to the library itself, without a GPU: it is told which one there would
   be, checks the graph, chooses an engine and builds it with NVRTC. Attention of the encoders of SAM and of ViTs at 1024 x 1024 and
   520 x 704 pixels must be accepted wherever it would be used. A driver that does nothing (idle_driver.c) stands behind it. */
#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/cudnn_internal.h"

#include <stdio.h>
#include <string.h>

struct gpu {
    int capability, multiprocessors, shared, threads;
    const char *name;
};
static const struct gpu gpus[] = {
    {80, 108, 166912, 2048, "NVIDIA A100-SXM4-80GB"},
    {90, 132, 232448, 2048, "NVIDIA H100 80GB HBM3"},
    {100, 148, 232448, 2048, "NVIDIA B200"},
    {89, 128, 101376, 1536, "NVIDIA GeForce RTX 4090"},
    {120, 170, 101376, 1536, "NVIDIA GeForce RTX 5090"},
};

struct shape {
    int64_t samples, tokens, heads, width, features;
    bool among_three; /* queries, keys and values are parts of one array */
    const char *what;
};
static const struct shape shapes[] = {
    {25, 196, 12, 96, 64, false, "windows of 14 x 14, relative"},
    {1, 4096, 12, 192, 64, false, "64 x 64 tokens, relative"},
    {1, 4096, 16, 208, 80, true, "64 x 64 tokens of 80 features, relative"},
    {2, 1452, 12, 144, 64, true, "33 x 44 tokens, relative"},
    {1, 4097, 12, 64, 64, true, "64 x 64 tokens and one more"},
};

static bs__dn_descriptor describe_gpu(const struct bs__cudnn *dn, const struct gpu *g)
{
    char json[1200];
    bs__dn_descriptor d = NULL;
    snprintf(
        json, sizeof json,
        "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"
        "\"multiProcessorCount\":%d,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"
        "\"maxSharedMemoryPerBlockOptin\":%d,\"reservedSharedMemoryPerBlock\":1024,"
        "\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":%d,"
        "\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,\"totalGlobalMem\":34359738368,"
        "\"smClockRateKHz\":1980000,\"memClockRateKHz\":2619000,\"l2CacheSize\":52428800,\"cudaDeviceId\":0,"
        "\"deviceVer\":%d,\"driverVer\":13000,\"deviceName\":\"%s\"}",
        g->multiprocessors, g->shared, g->threads, 10 * g->capability, g->name);
    if (dn->make(BS__DN_DEVICE, &d) != BS__DN_SUCCESS)
        return NULL;
    if (dn->set(d, BS__DN_DEVICE_JSON, BS__DN_TYPE_CHAR, (int64_t)strlen(json) + 1, json) != BS__DN_SUCCESS ||
        dn->finalize(d) != BS__DN_SUCCESS) {
        (void)dn->release(d);
        return NULL;
    }
    return d;
}

static struct bs__cudnn_heads heads(const struct shape *s, int64_t features, int64_t parts)
{
    const int64_t token = parts * s->heads * features;
    return (struct bs__cudnn_heads){.sample = s->tokens * token, .token = token, .head = features};
}

/* Whether cuDNN says the same of a shape as we expect. */
static bool agrees(const struct bs__cudnn *dn, bs__dn_descriptor device, const struct gpu *g,
                   const struct shape *s, enum bs__element e, bool expected)
{
    const int64_t parts = s->among_three ? 3 : 1;
    const struct bs__cudnn_heads query = heads(s, s->width, s->width == s->features ? parts : 1);
    const struct bs__cudnn_attention c = {.element = e,
                                          .samples = s->samples,
                                          .tokens = s->tokens,
                                          .heads = s->heads,
                                          .width = s->width,
                                          .features = s->features,
                                          .q = query,
                                          .k = query,
                                          .v = heads(s, s->features, parts),
                                          .y = heads(s, s->features, 1),
                                          .scale = 0.125f};
    struct bs__cudnn_attention_plan *plan = NULL;
    struct bs_err err = {0};
    char why[120] = "";
    const bs_status rc = bs__cudnn_attention_plan(dn, &c, device, &plan, why, sizeof why, &err);
    printf("sm_%d %s, %s: %s", g->capability, s->what, bs__element_name(e),
           rc != BS_OK ? err.msg
           : plan      ? "engine"
                       : why);
    if (plan)
        printf(" %d, %zu bytes of workspace", bs__cudnn_attention_engine(plan),
               bs__cudnn_attention_workspace(plan));
    printf("\n");
    bs__cudnn_attention_plan_destroy(plan);
    return rc == BS_OK && (plan != NULL) == expected;
}

int main(void)
{
    struct bs__cudnn *dn = NULL;
    struct bs_err err = {0};
    int wrong = 0;
    if (bs__cudnn_load(&dn, &err) != BS_OK) {
        printf("%s\n", err.msg);
        return 1;
    }
    if (dn->version() < BS__CUDNN_ATTENTION_VERSION) {
        printf("cuDNN %zu has no attention of this kind\n", dn->version());
        bs__cudnn_close(dn);
        return 77;
    }
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) {
        bs__dn_descriptor device = describe_gpu(dn, &gpus[i]);
        wrong += !device;
        for (size_t j = 0; device && j < sizeof shapes / sizeof *shapes; j++)
            wrong += !agrees(dn, device, &gpus[i], &shapes[j], (i + j) % 2 ? BS__BF16 : BS__F16, true);
        if (device)
            (void)dn->release(device);
    }
    static const struct gpu old = {75, 40, 65536, 1024, "Tesla T4"};
    bs__dn_descriptor device = describe_gpu(dn, &old);
    wrong += !device || !agrees(dn, device, &old, &shapes[0], BS__F16, false);
    if (device)
        (void)dn->release(device);
    bs__cudnn_close(dn);
    printf("%d answers were not as expected\n", wrong);
    return wrong != 0;
}
