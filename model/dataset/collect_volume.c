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

bs_status bs_collect_volume_size(int fd, const struct bs_collect_volume *v, size_t *planes,
                                 struct bs_err *err)
{
    struct bs_hdf5_size image = {0}, labels = {0};
    bs_status rc = bs_hdf5_size(fd, v->image, NULL, &image, err);
    if (rc == BS_OK)
        rc = bs_hdf5_size(fd, v->labels, NULL, &labels, err);
    if (rc != BS_OK)
        return rc;
    if (labels.planes != image.planes || labels.height != image.height || labels.width != image.width)
        return BS_FAIL(err, BS_EINVAL,
                       "labels of %zu planes of %zu x %zu pixels for an image of %zu planes of %zu x %zu",
                       labels.planes, labels.width, labels.height, image.planes, image.width, image.height);
    if (image.planes < v->train || image.planes - v->train < v->validation ||
        image.planes - v->train - v->validation < v->test)
        return BS_FAIL(
            err, BS_EINVAL,
            "it has %zu planes, fewer than %zu for training, %zu for validation and %zu for testing",
            image.planes, v->train, v->validation, v->test);
    *planes = image.planes;
    return BS_OK;
}

bool bs_collect_volume_part(const struct bs_collect_volume *v, size_t planes, size_t z, enum bs_part *part)
{
    if (z < v->train)
        *part = BS_PART_TRAIN;
    else if (z - v->train < v->validation)
        *part = BS_PART_VALIDATION;
    else if (z >= planes - v->test)
        *part = BS_PART_TEST;
    else
        return false;
    return true;
}

bs_status bs_collect_volume(const struct bs_root *root, const struct bs_collect_volume *v,
                            struct bs_manifest *m, struct bs_err *err)
{
    size_t planes = 0;
    int fd = -1;
    bs_status rc = bs_root_open_file(root, v->file, &fd, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = bs_collect_volume_size(fd, v, &planes, err)) != BS_OK)
        (void)bs_err_prefix(err, "\"%.200s\"", v->file);
    close(fd);
    struct bs_manifest_pair pair = {
        .image = {.name = (char *)v->file, .volume = (char *)v->image},
        .labels = {.name = (char *)v->file, .volume = (char *)v->labels},
        .group = (char *)v->file,
    };
    for (size_t z = 0; z < planes && rc == BS_OK; z++) {
        if (!bs_collect_volume_part(v, planes, z, &pair.part))
            continue;
        pair.image_plane = pair.labels_plane = (int64_t)z;
        rc = bs_manifest_add(m, &pair, err);
    }
    return rc;
}
