/* machine.c with its files named, so that tests can hand it those of any machine. */
#ifndef BS_KERNELS_BASE_MACHINE_INTERNAL_H
#define BS_KERNELS_BASE_MACHINE_INTERNAL_H

#include <stddef.h>

/* Folders that stand in for /proc and /sys/fs/cgroup. */
struct bs__machine_root {
    const char *proc, *cgroup;
};

/* Processors that the cgroups of this process (version 1 or 2, all the way up) allow, rounded up; 0: no limit. */
int bs__machine_quota(const struct bs__machine_root *root);
/* Bytes still allowed by the cgroups; SIZE_MAX: no limit. */
size_t bs__machine_cgroup_memory(const struct bs__machine_root *root);
/* MemAvailable; SIZE_MAX when there is none. */
size_t bs__machine_meminfo(const struct bs__machine_root *root);

#endif
