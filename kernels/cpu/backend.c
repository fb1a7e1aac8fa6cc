/* The CPU backend's table: opens the device, says what it is. */
#include "kernels/base/machine.h"
#include "kernels/cpu/training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void cpu_close(void *dev)
{
    struct bs__cpu *cpu = dev;
    if (cpu)
        bs__dnnl_destroy(cpu->dnnl);
    free(cpu);
}

static bs_status cpu_open(const struct bs_device_options *opt, void **dev, struct bs_err *err)
{
    bs_status rc = BS_OK;
    *dev = NULL;
    if (opt->threads < 0 || opt->threads > 4096)
        return BS_FAIL(err, BS_EINVAL, "threads is %d; 0 (automatic) to 4096 are accepted", opt->threads);
    struct bs__cpu *cpu = calloc(1, sizeof *cpu);
    if (!cpu)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the CPU device");
    cpu->simd = opt->isa ? bs__simd_named(opt->isa) : bs__simd_select();
    if (!cpu->simd) {
        rc = BS_FAIL(err, BS_EUNSUPPORTED,
                     "no kernels for \"%.32s\"; \"base\" and what this processor has of \"avx2\" and "
                     "\"avx512\" are accepted",
                     opt->isa);
        goto cleanup;
    }
    cpu->threads = opt->threads ? opt->threads : bs_machine_threads();
#ifndef _OPENMP
    cpu->threads = 1;
#endif
    cpu->allow_winograd = opt->allow_winograd;
    cpu->fast_bf16 = strcmp(bs_machine_isa(), "avx512_bf16") == 0 && cpu->simd == bs__simd_select();
    if ((rc = bs__dnnl_create(&cpu->dnnl, err)) != BS_OK)
        goto cleanup;
    *dev = cpu;
    cpu = NULL;
cleanup:
    cpu_close(cpu);
    return rc;
}

static void cpu_describe(void *dev, struct bs_device_info *info)
{
    const struct bs__cpu *cpu = dev;
    char name[64], version[32];
    bs_machine_cpu_name(name, sizeof name);
    bs__dnnl_version(version, sizeof version);
    snprintf(info->name, sizeof info->name, "CPU, %s", name);
    snprintf(info->libraries, sizeof info->libraries,
             "oneDNN %s (direct convolutions), own %s Winograd kernels%s", version, cpu->simd->name,
             cpu->allow_winograd ? "" : " switched off");
    snprintf(info->isa, sizeof info->isa, "%s", bs_machine_isa());
    info->threads = cpu->threads;
    info->fast_bf16 = cpu->fast_bf16;
}

static void cpu_describe_step(void *dev, const struct bs_program *program, int step, char *text, size_t len)
{
    (void)dev;
    const struct bs__cpu_program *p = program->private;
    snprintf(text, len, "%s", p->training ? p->training->step[step].text : p->step[step].text);
}

const struct bs_backend_i *bs_backend_cpu(void)
{
    static const struct bs_backend_i backend = {
        .abi = BS_BACKEND_ABI,
        .name = "cpu",
        .open = cpu_open,
        .close = cpu_close,
        .describe = cpu_describe,
        .lower = bs__cpu_lower,
        .run_step = bs__cpu_run_step,
        .destroy_program = bs__cpu_destroy_program,
        .describe_step = cpu_describe_step,
    };
    return &backend;
}
