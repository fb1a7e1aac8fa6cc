/* What a worker gives up at its start: outliving its daemon, gaining rights, starting programs, the network, core dumps of
   other people's images. Called once, before any thread. Failures are ignored: each is a second line of defence. */
#include "server/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

/* Bytes of address space, and seconds of processor time. */
static const struct {
    rlim_t memory, seconds;
} limits[] = {
    [BS__CONFINE_INSPECT] = {(rlim_t)2 << 30, 20}, /* a header is at most 4 MiB */
    [BS__CONFINE_CHECK] = {(rlim_t)8 << 30,
                           600}, /* image, labels and prediction at once; tens of gigabytes on disk */
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0 /* the sanitizers reserve terabytes of addresses and inspect their own process */
#endif

static void limit(int resource, rlim_t value)
{
    struct rlimit r = {value, value};
    (void)setrlimit(resource, &r);
}

/* The kernel takes the worker before anything else of ours when memory runs out. */
static void offer_to_oom_killer(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t ignored = write(fd, "800", 3);
        (void)ignored;
        close(fd);
    }
}

/* No program is started and nobody is talked to from here on, whatever a file made this process do. */
static void forbid_system_calls(void)
{
#if defined(__x86_64__) || defined(__aarch64__)
#if defined(__x86_64__)
    const unsigned arch = AUDIT_ARCH_X86_64;
#else
    const unsigned arch = AUDIT_ARCH_AARCH64;
#endif
#define REFUSE(number)                                                                                       \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#if !SANITIZED /* their reports start a symboliser and look into the process */
        REFUSE(SYS_execve),
        REFUSE(SYS_execveat),
        REFUSE(SYS_ptrace),
#endif
        REFUSE(SYS_socket),
        REFUSE(SYS_connect),
        REFUSE(SYS_bind),
        REFUSE(SYS_process_vm_readv),
        REFUSE(SYS_process_vm_writev),
        REFUSE(SYS_mount),
        REFUSE(SYS_unshare),
        REFUSE(SYS_setns),
        REFUSE(SYS_keyctl),
        REFUSE(SYS_bpf),
        REFUSE(SYS_unlinkat),
        REFUSE(SYS_renameat2),
        REFUSE(SYS_linkat),
        REFUSE(SYS_symlinkat),
#if defined(__x86_64__)
        REFUSE(SYS_unlink),
        REFUSE(SYS_rename),
#endif
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
#undef REFUSE
    struct sock_fprog program = {.len = (unsigned short)(sizeof filter / sizeof *filter), .filter = filter};
    (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
#endif
}

void bs__harden(int parent, enum bs__confinement confinement)
{
    const bool strict = confinement != BS__CONFINE_WORKER;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The daemon may have died before that line. */
    if (getppid() != parent)
        _exit(0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    offer_to_oom_killer();
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE,
          strict ? 256 : 1024); /* a GPU's driver opens some dozens for each GPU of the machine */
    if (strict) {
        limit(RLIMIT_CPU, limits[confinement].seconds);
        limit(RLIMIT_FSIZE, 0);
        if (!SANITIZED)
            limit(RLIMIT_AS, limits[confinement].memory);
    }
    if (chdir("/") != 0)
        _exit(1);
    forbid_system_calls();
}
