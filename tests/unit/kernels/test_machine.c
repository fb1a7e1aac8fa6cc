/* Limits of containers are honoured: cgroup version 1 and 2, at every level, as laid out in folders made here. */
#include "kernels_support.h"

#include "kernels/base/machine.h"
#include "kernels/base/machine_internal.h"

#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct fake {
    char folder[64], proc[80], cgroup[80];
    struct bs__machine_root root;
};

static void put(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    struct fake *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->folder, sizeof f->folder, "%.40s/bs-machine-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(f->folder))
        return -1;
    snprintf(f->proc, sizeof f->proc, "%s/proc", f->folder);
    snprintf(f->cgroup, sizeof f->cgroup, "%s/cgroup", f->folder);
    f->root = (struct bs__machine_root){f->proc, f->cgroup};
    *state = f;
    return 0;
}

static int drop(const char *path, const struct stat *s, int flag, struct FTW *w)
{
    (void)s, (void)flag, (void)w;
    return remove(path);
}

static int teardown(void **state)
{
    struct fake *f = *state;
    nftw(f->folder, drop, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static void without_cgroups_there_is_no_limit(void **state)
{
    struct fake *f = *state;
    assert_int_equal(bs__machine_quota(&f->root), 0);
    assert_int_equal(bs__machine_cgroup_memory(&f->root), SIZE_MAX);
    assert_int_equal(bs__machine_meminfo(&f->root), SIZE_MAX);
}

static void the_tightest_quota_on_the_way_up_counts(void **state)
{
    struct fake *f = *state;
    put(f->proc, "self/cgroup", "0::/lab/daemon\n");
    put(f->cgroup, "lab/daemon/cpu.max", "max 100000\n");
    assert_int_equal(bs__machine_quota(&f->root), 0);
    put(f->cgroup, "lab/cpu.max", "350000 100000\n");
    assert_int_equal(bs__machine_quota(&f->root), 4); /* three and a half keep four threads busy */
    put(f->cgroup, "lab/daemon/cpu.max", "50000 100000\n");
    assert_int_equal(bs__machine_quota(&f->root), 1);
    put(f->cgroup, "lab/daemon/cpu.max", "nonsense\n");
    assert_int_equal(bs__machine_quota(&f->root), 4);
}

static void a_containers_limit_sits_at_the_mount_point(void **state)
{
    struct fake *f = *state;
    put(f->proc, "self/cgroup",
        "0::/docker/0123456789abcdef\n"); /* the host's name, not visible from inside */
    put(f->cgroup, "cpu.max", "200000 100000\n");
    put(f->cgroup, "memory.max", "1000000\n");
    put(f->cgroup, "memory.current", "400000\n");
    put(f->cgroup, "memory.stat", "anon 1\nfile 2\ninactive_file 150000\n");
    assert_int_equal(bs__machine_quota(&f->root), 2);
    assert_int_equal(bs__machine_cgroup_memory(&f->root), 1000000 - (400000 - 150000));
    put(f->cgroup, "memory.current", "9000000\n");
    assert_int_equal(bs__machine_cgroup_memory(&f->root), 0);
    put(f->cgroup, "memory.max", "max\n");
    assert_int_equal(bs__machine_cgroup_memory(&f->root), SIZE_MAX);
}

static void version_1_limits_count_too(void **state)
{
    struct fake *f = *state;
    put(f->proc, "self/cgroup", "5:cpuacct,cpu:/jobs/7\n3:memory:/jobs/7\n1:name=systemd:/x\n");
    put(f->cgroup, "cpu/jobs/7/cpu.cfs_quota_us", "-1\n");
    put(f->cgroup, "cpu/jobs/7/cpu.cfs_period_us", "100000\n");
    assert_int_equal(bs__machine_quota(&f->root), 0);
    put(f->cgroup, "cpu/jobs/7/cpu.cfs_quota_us", "300000\n");
    assert_int_equal(bs__machine_quota(&f->root), 3);
    put(f->cgroup, "memory/jobs/memory.limit_in_bytes", "500\n");
    put(f->cgroup, "memory/jobs/memory.usage_in_bytes", "100\n");
    assert_int_equal(bs__machine_cgroup_memory(&f->root), 400);
}

static void available_memory_is_read_from_meminfo(void **state)
{
    struct fake *f = *state;
    put(f->proc, "meminfo", "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    9000 kB\n");
    assert_int_equal(bs__machine_meminfo(&f->root), 9000 * 1024);
}

static void threads_follow_the_affinity_mask(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_in_range(bs_machine_threads(), 1, CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    int threads = bs_machine_threads();
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(threads, 1);
}

static void this_machine_describes_itself(void **state)
{
    (void)state;
    char name[64];
    bs_machine_cpu_name(name, sizeof name);
    assert_true(strlen(name) > 0);
    assert_true(strlen(bs_machine_isa()) > 0);
    assert_true(bs_machine_memory_available() > (size_t)1 << 20);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(without_cgroups_there_is_no_limit),
        WITH_FOLDER(the_tightest_quota_on_the_way_up_counts),
        WITH_FOLDER(a_containers_limit_sits_at_the_mount_point),
        WITH_FOLDER(version_1_limits_count_too),
        WITH_FOLDER(available_memory_is_read_from_meminfo),
        cmocka_unit_test(threads_follow_the_affinity_mask),
        cmocka_unit_test(this_machine_describes_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
