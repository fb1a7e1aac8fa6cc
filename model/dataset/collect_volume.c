/* See collect.h: volumes. */
#include "model/dataset/collect.h"
#include "model/dataset/hdf5.h"

#include <unistd.h>

struct bs_collect_volume bs_collect_cremi(const char *file)
{
    return (struct bs_collect_volume){.file = file,
                                      .image = "volumes/raw",
                                      .labels = "volumes/labels/neuron_ids",
                                      .train = 75,
                                      .validation = 25,
                                      .test = 25};
}

static bs_status check_sizes(const struct bs_root *root, const struct bs_collect_volume *v,
                             struct bs_hdf5_size *image, struct bs_err *err)
{
    struct bs_hdf5_size labels = {0};
    int fd = -1;
    bs_status rc = bs_root_open_file(root, v->file, &fd, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = bs_hdf5_size(fd, v->image, NULL, image, err)) == BS_OK)
        rc = bs_hdf5_size(fd, v->labels, NULL, &labels, err);
    close(fd);
    if (rc == BS_OK &&
        (labels.planes != image->planes || labels.height != image->height || labels.width != image->width))
        rc = BS_FAIL(err, BS_EINVAL,
                     "labels of %zu planes of %zu x %zu pixels for an image of %zu planes of %zu x %zu",
                     labels.planes, labels.width, labels.height, image->planes, image->width, image->height);
    if (rc == BS_OK && (image->planes < v->train || image->planes - v->train < v->validation ||
                        image->planes - v->train - v->validation < v->test))
        rc = BS_FAIL(err, BS_EINVAL,
                     "it has %zu planes, fewer than %zu for training, %zu for validation and %zu for testing",
                     image->planes, v->train, v->validation, v->test);
    if (rc != BS_OK)
        (void)bs_err_prefix(err, "\"%.200s\"", v->file);
    return rc;
}

bs_status bs_collect_volume(const struct bs_root *root, const struct bs_collect_volume *v,
                            struct bs_manifest *m, struct bs_err *err)
{
    struct bs_hdf5_size size = {0};
    bs_status rc = check_sizes(root, v, &size, err);
    struct bs_manifest_pair pair = {
        .image = {.name = (char *)v->file, .volume = (char *)v->image},
        .labels = {.name = (char *)v->file, .volume = (char *)v->labels},
        .group = (char *)v->file,
    };
    for (size_t z = 0; z < size.planes && rc == BS_OK; z++) {
        const bool train = z < v->train, validation = !train && z < v->train + v->validation;
        if (!train && !validation && z < size.planes - v->test)
            continue;
        pair.image_plane = pair.labels_plane = (int64_t)z;
        pair.part = train ? BS_PART_TRAIN : validation ? BS_PART_VALIDATION : BS_PART_TEST;
        rc = bs_manifest_add(m, &pair, err);
    }
    return rc;
}
