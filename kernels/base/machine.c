/* Processors, memory and instruction sets; see machine.h. */
#include "kernels/base/machine.h"

#include "kernels/base/machine_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 1024

static const struct bs__machine_root system_root = {.proc = "/proc", .cgroup = "/sys/fs/cgroup"};

/* The beginning of a small file as a string; false when it cannot be read. */
static bool read_text(const char *path, char *text, size_t len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t used = 0;
    while (used + 1 < len) {
        ssize_t n = read(fd, text + used, len - 1 - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    close(fd);
    text[used] = '\0';
    return used > 0;
}

static bool read_number(const char *folder, const char *file, uint64_t *value)
{
    char path[PATH_BYTES + 64], text[64];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (!read_text(path, text, sizeof text) || !isdigit((unsigned char)text[0]))
        return false; /* "max" and "-1" mean: no limit */
    *value = strtoull(text, NULL, 10);
    return true;
}

/* The value of `key` in a file of "key value" lines. */
static bool read_field(const char *folder, const char *file, const char *key, uint64_t *value)
{
    char path[PATH_BYTES + 64], text[8192];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (!read_text(path, text, sizeof text))
        return false;
    size_t n = strlen(key);
    for (char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, key, n) == 0 && (line[n] == ' ' || line[n] == ':')) {
            *value = strtoull(line + n + 1, NULL, 10);
            return true;
        }
    return false;
}

/* Path of this process inside the hierarchy that holds `controller` (NULL: the unified one, version 2). */
static bool own_cgroup(const struct bs__machine_root *root, const char *controller, char *path, size_t len)
{
    char file[PATH_BYTES], text[8192];
    snprintf(file, sizeof file, "%s/self/cgroup", root->proc);
    if (!read_text(file, text, sizeof text))
        return false;
    for (char *line = text, *next; line && *line; line = next) {
        if ((next = strchr(line, '\n')))
            *next++ = '\0';
        /* number:controller,controller:/path */
        char *list = strchr(line, ':'), *where = list ? strchr(list + 1, ':') : NULL;
        if (!where)
            continue;
        *where++ = '\0';
        list++;
        bool match = !controller && !*list;
        char *save = NULL;
        for (char *c = strtok_r(list, ",", &save); controller && c && !match; c = strtok_r(NULL, ",", &save))
            match = strcmp(c, controller) == 0;
        if (match) {
            snprintf(path, len, "%s", where);
            return true;
        }
    }
    return false;
}

/* Calls visit for the cgroup's folder and each one above it. Inside a container the path may name folders that are not
   there (the host's view): those are skipped, and the mount point itself is the container's own. */
static void walk_up(const char *mount, const char *path, void (*visit)(const char *folder, void *ctx),
                    void *ctx)
{
    char rest[PATH_BYTES], folder[2 * PATH_BYTES];
    snprintf(rest, sizeof rest, "%s", path);
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s", mount, rest);
        folder[PATH_BYTES - 1] = '\0';
        visit(folder, ctx);
        char *slash = strrchr(rest, '/');
        if (!slash || !rest[1])
            break;
        *slash = '\0';
    }
}

/* All folders of the process's cgroups, for version 2 and for one controller of version 1. */
static void walk_cgroups(const struct bs__machine_root *root, const char *controller,
                         void (*visit)(const char *folder, void *ctx), void *ctx)
{
    char path[PATH_BYTES], mount[PATH_BYTES];
    if (own_cgroup(root, NULL, path, sizeof path))
        walk_up(root->cgroup, path, visit, ctx);
    if (own_cgroup(root, controller, path, sizeof path)) {
        snprintf(mount, sizeof mount, "%s/%s", root->cgroup, controller);
        walk_up(mount, path, visit, ctx);
    }
}

static void visit_quota(const char *folder, void *ctx)
{
    int *best = ctx;
    char file[PATH_BYTES + 16], text[64];
    uint64_t quota = 0, period = 0;
    snprintf(file, sizeof file, "%s/cpu.max", folder);
    if (read_text(file, text, sizeof text) && isdigit((unsigned char)text[0])) {
        char *end;
        quota = strtoull(text, &end, 10);
        period = strtoull(end, NULL, 10);
    } else if (!read_number(folder, "cpu.cfs_quota_us", &quota) ||
               !read_number(folder, "cpu.cfs_period_us", &period)) {
        return;
    }
    if (!quota || !period || quota / period >= 1 << 20)
        return;
    int processors = (int)(quota / period + (quota % period != 0));
    if (!*best || processors < *best)
        *best = processors;
}

int bs__machine_quota(const struct bs__machine_root *root)
{
    int best = 0;
    walk_cgroups(root, "cpu", visit_quota, &best);
    return best;
}

static void visit_memory(const char *folder, void *ctx)
{
    size_t *best = ctx;
    uint64_t limit, usage, cache = 0;
    if (read_number(folder, "memory.max", &limit)) {
        if (!read_number(folder, "memory.current", &usage))
            return;
        (void)read_field(folder, "memory.stat", "inactive_file", &cache);
    } else if (read_number(folder, "memory.limit_in_bytes", &limit)) {
        if (!read_number(folder, "memory.usage_in_bytes", &usage))
            return;
        (void)read_field(folder, "memory.stat", "total_inactive_file", &cache);
    } else {
        return;
    }
    uint64_t held = usage > cache ? usage - cache : 0;
    uint64_t left = limit > held ? limit - held : 0;
    if (left < *best)
        *best = (size_t)left;
}

size_t bs__machine_cgroup_memory(const struct bs__machine_root *root)
{
    size_t best = SIZE_MAX;
    walk_cgroups(root, "memory", visit_memory, &best);
    return best;
}

size_t bs__machine_meminfo(const struct bs__machine_root *root)
{
    uint64_t kib;
    if (!read_field(root->proc, "meminfo", "MemAvailable", &kib) || kib > SIZE_MAX >> 10)
        return SIZE_MAX;
    return (size_t)kib << 10;
}

int bs_machine_threads(void)
{
    int n = 1;
    /* more than 1,024 processors do not fit a cpu_set_t: then the call fails and the online count is the answer */
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    else if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int quota = bs__machine_quota(&system_root);
    if (quota && quota < n)
        n = quota;
    return n > 0 ? n : 1;
}

size_t bs_machine_memory_available(void)
{
    size_t machine = bs__machine_meminfo(&system_root), group = bs__machine_cgroup_memory(&system_root);
    return machine < group ? machine : group;
}

const char *bs_machine_isa(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return __builtin_cpu_supports("avx512bf16") ? "avx512_bf16" : "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return "avx2";
#endif
    return "baseline";
}

void bs_machine_cpu_name(char *name, size_t len)
{
    char text[4096];
    snprintf(name, len, "unknown processor");
    if (!read_text("/proc/cpuinfo", text, sizeof text))
        return;
    char *line = strstr(text, "model name");
    char *value = line ? strchr(line, ':') : NULL;
    if (!value)
        return;
    value += 1 + strspn(value + 1, " \t");
    value[strcspn(value, "\n")] = '\0';
    snprintf(name, len, "%s", value);
}
