/* Promises about data folders: only regular files beneath them come out, by no name and through no link anything else. */
#include "model/dataset/root.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[32];
static struct bs_root *root;

static void put(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make(void **state)
{
    (void)state;
    strcpy(folder, "root-XXXXXX");
    if (!mkdtemp(folder) || mkdir(in_folder("data"), 0700) || mkdir(in_folder("data/b"), 0700) ||
        mkdir(in_folder("data/b/c"), 0700) || mkdir(in_folder("data/.hidden"), 0700))
        return -1;
    put("secret", "no");
    put("data/a.tif", "a");
    put("data/b/z.tif", "z");
    put("data/b/c/y.tif", "y");
    put("data/.hidden/x", "x");
    if (symlink("../secret", in_folder("data/link")) || symlink("..", in_folder("data/up")) ||
        symlink("b", in_folder("data/inner")) || mkfifo(in_folder("data/pipe"), 0600))
        return -1;
    return bs_root_open(in_folder("data"), &root, NULL) == BS_OK ? 0 : -1;
}

static int clean(void **state)
{
    (void)state;
    static const char *const files[] = {"secret",         "data/a.tif",     "data/b/z.tif",
                                        "data/b/c/y.tif", "data/.hidden/x", "data/link",
                                        "data/up",        "data/inner",     "data/pipe"};
    static const char *const folders[] = {"data/.hidden", "data/b/c", "data/b", "data", ""};
    bs_root_close(root);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(in_folder(files[i]));
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        rmdir(in_folder(folders[i]));
    return 0;
}

static void files_beneath_the_folder_open(void **state)
{
    (void)state;
    static const char *const names[] = {"a.tif", "b/z.tif", "b/c/y.tif", ".hidden/x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int fd;
        struct bs_err err;
        char c;
        if (bs_root_open_file(root, names[i], &fd, &err) != BS_OK)
            fail_msg("%s", err.msg);
        assert_int_equal(read(fd, &c, 1), 1);
        assert_int_equal(c, "azyx"[i]);
        close(fd);
    }
}

static void nothing_else_opens(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bs_status code;
    } cases[] = {
        {"", BS_EINVAL},
        {".", BS_EINVAL},
        {"..", BS_EINVAL},
        {"../secret", BS_EINVAL},
        {"b/../a.tif", BS_EINVAL},
        {"b/./z.tif", BS_EINVAL},
        {"/etc/passwd", BS_EINVAL},
        {"a.tif/", BS_EPERMISSION},
        {"b//z.tif", BS_EINVAL},
        {"b", BS_ENOTFOUND},
        {"pipe", BS_ENOTFOUND},
        {"link", BS_EPERMISSION},
        {"up/secret", BS_EPERMISSION},
        {"inner/z.tif", BS_EPERMISSION},
        {"a.tif/x", BS_EPERMISSION},
        {"missing", BS_ENOTFOUND},
        {"1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", BS_ENOTFOUND},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = -1;
        struct bs_err err = {0};
        bs_status rc = bs_root_open_file(root, cases[i].name, &fd, &err);
        if (rc != cases[i].code)
            fail_msg("\"%s\": %s: %s", cases[i].name, bs_status_name(rc), err.msg);
    }
    char deep[64] = "b", long_name[300];
    for (int i = 0; i < BS_ROOT_MAX_DEPTH; i++)
        strcat(deep, "/b");
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    int fd;
    assert_int_not_equal(bs_root_open_file(root, deep, &fd, NULL), BS_OK);
    assert_int_equal(bs_root_open_file(root, long_name, &fd, NULL), BS_EINVAL);
}

static void regular_files_are_listed_in_order(void **state)
{
    (void)state;
    struct bs_names names = {0};
    assert_int_equal(bs_root_list(root, "", &names, NULL), BS_OK);
    assert_int_equal(names.count, 3);
    assert_string_equal(names.at[0], "a.tif");
    assert_string_equal(names.at[1], "b/c/y.tif");
    assert_string_equal(names.at[2], "b/z.tif");
    bs_names_clear(&names);
    assert_int_equal(bs_root_list(root, "b", &names, NULL), BS_OK);
    assert_int_equal(names.count, 2);
    assert_string_equal(names.at[1], "z.tif");
    bs_names_clear(&names);
    assert_int_equal(bs_root_list(root, "up", &names, NULL), BS_EPERMISSION);
    assert_int_equal(bs_root_list(root, "a.tif", &names, NULL), BS_EPERMISSION);
    bs_names_clear(&names);
}

static void a_folder_that_is_none_is_said(void **state)
{
    (void)state;
    struct bs_root *none;
    struct bs_err err;
    assert_int_equal(bs_root_open("no-such-folder", &none, &err), BS_ENOTFOUND);
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_beneath_the_folder_open),
        cmocka_unit_test(nothing_else_opens),
        cmocka_unit_test(regular_files_are_listed_in_order),
        cmocka_unit_test(a_folder_that_is_none_is_said),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
