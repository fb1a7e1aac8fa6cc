/* Writing zip archives of stored (uncompressed) entries, each entry's data aligned: what PyTorch's files and bioimage.io's
   packages are. One entry after the other, its size known when it begins. Without ZIP64: entries and archive stay below
   4 GiB, beyond that BS_ELIMIT. Times are 1980, so equal content gives equal bytes. Internal to model/export. One thread. */
#ifndef BS_MODEL_EXPORT_ZIP_WRITE_H
#define BS_MODEL_EXPORT_ZIP_WRITE_H

#include "model/export/bytes.h"

struct bs__zip_writer {
    int fd; /* borrowed; written from its start */
    uint64_t at;
    size_t entries;
    struct bs__bytes directory; /* of the entries so far */
    uint64_t header;            /* where the entry's own header is */
    size_t directory_crc;       /* where its checksum is in the directory */
    uint32_t left;              /* bytes of the entry that are still to come */
    uint32_t crc;
    uint32_t table[256]; /* of the checksum */
};

void bs__zip_create(struct bs__zip_writer *z, int fd);
void bs__zip_destroy(struct bs__zip_writer *z);

/* `bytes` of data follow, which begin at a multiple of `align` (a power of two up to 4096). */
bs_status bs__zip_begin(struct bs__zip_writer *z, const char *name, uint64_t bytes, unsigned align,
                        struct bs_err *err) BS_NODISCARD;
bs_status bs__zip_data(struct bs__zip_writer *z, const void *data, size_t bytes,
                       struct bs_err *err) BS_NODISCARD;
bs_status bs__zip_end(struct bs__zip_writer *z, struct bs_err *err) BS_NODISCARD;
/* The three in one. */
bs_status bs__zip_entry(struct bs__zip_writer *z, const char *name, const void *data, size_t bytes,
                        unsigned align, struct bs_err *err) BS_NODISCARD;
/* The directory, after the last entry. */
bs_status bs__zip_finish(struct bs__zip_writer *z, struct bs_err *err) BS_NODISCARD;

#endif
