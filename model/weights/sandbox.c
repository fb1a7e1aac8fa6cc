/* Resource limits and a system call filter; see sandbox.h. The filter names what is refused (with EPERM) rather than what
   is allowed: what the C library needs differs from version to version, what reaches another machine or starts a
   program does not. */
#include "model/weights/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

static bs_status limit(int what, const char *name, uint64_t value, struct bs_err *err)
{
    struct rlimit old, now = {.rlim_cur = value, .rlim_max = value};
    if (getrlimit((__rlimit_resource_t)what, &old) == 0 && old.rlim_max < value)
        now = (struct rlimit){old.rlim_max, old.rlim_max}; /* a stricter one stays */
    if (setrlimit((__rlimit_resource_t)what, &now) != 0)
        return BS_FAIL(err, BS_EIO, "the limit on %s cannot be set: %s", name, strerror(errno));
    return BS_OK;
}

#ifdef ARCHITECTURE
static const int refused[] = {
    /* network */
    SYS_socket,
    SYS_socketpair,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    SYS_sendto,
    SYS_sendmsg,
    /* programs and processes (threads of our own are made by clone, below) */
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kill,
    SYS_tkill,
    SYS_tgkill,
#ifdef SYS_fork
    SYS_fork,
    SYS_vfork,
#endif
    /* ways around this filter, and the system itself */
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_open_by_handle_at,
    SYS_symlinkat,
    SYS_linkat,
};
#define NREFUSED (sizeof refused / sizeof *refused)

static bs_status install_filter(struct bs_err *err)
{
    struct sock_filter program[16 + 2 * NREFUSED];
    unsigned short n = 0;
    const struct sock_filter deny = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    const struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_filter load_number =
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    program[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    program[n++] = load_number;
#ifdef __x86_64__
    /* The x32 numbers are a second door to the same calls. */
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1);
    program[n++] = deny;
#endif
    for (size_t i = 0; i < NREFUSED; i++) {
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refused[i], 0, 1);
        program[n++] = deny;
    }
    /* clone3 hides its flags behind a pointer; the C library falls back to clone when it is missing. */
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3);
    program[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]));
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0);
    program[n++] = deny;
    program[n++] = allow;

    const struct sock_fprog whole = {.len = n, .filter = program};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole, 0, 0) != 0)
        return BS_FAIL(err, BS_EUNSUPPORTED, "this system does not let us filter system calls: %s",
                       strerror(errno));
    return BS_OK;
}
#else
static bs_status install_filter(struct bs_err *err)
{
    return BS_FAIL(err, BS_EUNSUPPORTED, "system calls are filtered on x86-64 and aarch64 only");
}
#endif

bs_status bs_sandbox_enter(uint64_t memory_bytes, uint64_t cpu_seconds, struct bs_err *err)
{
    bs_status rc;
    if ((memory_bytes && (rc = limit(RLIMIT_AS, "memory", memory_bytes, err)) != BS_OK) ||
        (cpu_seconds && (rc = limit(RLIMIT_CPU, "CPU time", cpu_seconds, err)) != BS_OK) ||
        (rc = limit(RLIMIT_CORE, "core files", 0, err)) != BS_OK ||
        (rc = limit(RLIMIT_NOFILE, "open files", 64, err)) != BS_OK)
        return rc;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return BS_FAIL(err, BS_EUNSUPPORTED, "this system cannot give up privileges for good: %s",
                       strerror(errno));
    return install_filter(err);
}
