/* The descriptor set as read-only data of the program; see descriptors.h. */
#include "proto/descriptors.h"

/* gcc 12 has no #embed; the assembler reads the file. */
__asm__(".section .rodata\n"
        ".balign 16\n"
        ".local bs_descriptor_set_begin\n"
        "bs_descriptor_set_begin:\n"
        ".incbin \"" BS_DESCRIPTOR_SET "\"\n"
        ".local bs_descriptor_set_end\n"
        "bs_descriptor_set_end:\n"
        ".byte 0\n"
        ".previous\n");

extern const uint8_t bs_descriptor_set_begin[] __attribute__((visibility("hidden")));
extern const uint8_t bs_descriptor_set_end[] __attribute__((visibility("hidden")));

const uint8_t *bs_descriptor_set(size_t *size)
{
    *size = (size_t)(bs_descriptor_set_end - bs_descriptor_set_begin);
    return bs_descriptor_set_begin;
}
