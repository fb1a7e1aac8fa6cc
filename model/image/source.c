/* Bounded reads from memory or a descriptor: the one way by which decoders see bytes from outside. Any thread. */
#include "model/image/image_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

size_t bs__source_read(const struct bs__source *src, uint64_t offset, void *dst, size_t n)
{
    if (offset >= src->size)
        return 0;
    if (n > src->size - offset)
        n = (size_t)(src->size - offset);
    if (src->data) {
        memcpy(dst, src->data + offset, n);
        return n;
    }
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(src->fd, (unsigned char *)dst + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break; /* an error, or someone shortened the file meanwhile: the decoder reports a short read */
        done += (size_t)got;
    }
    return done;
}
