/* The gate: the table is complete, tokens are what they should be, addresses are what they seem, and every status has its
   gRPC code. */
#include "server/auth.h"
#include "server/rpc/rpc.h"

#include "bioseg/v1/admin.pb-c.h"
#include "bioseg/v1/comparisons.pb-c.h"
#include "bioseg/v1/datasets.pb-c.h"
#include "bioseg/v1/jobs.pb-c.h"
#include "bioseg/v1/models.pb-c.h"
#include "bioseg/v1/segmentation.pb-c.h"
#include "bioseg/v1/server.pb-c.h"
#include "bioseg/v1/training.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"

#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const ProtobufCServiceDescriptor *const services[] = {
    &bioseg__v1__server__descriptor,
    &bioseg__v1__segmentation__descriptor,
    &bioseg__v1__models__descriptor,
    &bioseg__v1__jobs__descriptor,
    &bioseg__v1__datasets__descriptor,
    &bioseg__v1__training__descriptor,
    &bioseg__v1__comparisons__descriptor,
    &bioseg__v1__admin__descriptor,
    &grpc__health__v1__health__descriptor,
    &grpc__reflection__v1__server_reflection__descriptor,
    &grpc__reflection__v1alpha__server_reflection__descriptor,
};

static void the_table_holds_every_method_of_every_service_and_nothing_else(void **state)
{
    size_t methods = 0, entries = 0;
    (void)state;
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
        for (unsigned k = 0; k < services[i]->n_methods; k++, methods++) {
            char path[160];
            snprintf(path, sizeof path, "/%s/%s", services[i]->name, services[i]->methods[k].name);
            if (bs_auth_who(path) == BS_WHO_NOBODY)
                fail_msg("%s is missing in auth_table.c", path);
            if (strstr(path, ".Admin/") && bs_auth_who(path) != BS_WHO_ADMIN)
                fail_msg("%s is open to every user", path);
        }
    }
    while (bs_auth_table_method(entries))
        entries++;
    assert_int_equal(entries, methods);
}

static void a_method_outside_the_table_is_for_nobody(void **state)
{
    (void)state;
    assert_int_equal(bs_auth_who("/bioseg.v1.Server/Nonsense"), BS_WHO_NOBODY);
    assert_int_equal(bs_auth_who(""), BS_WHO_NOBODY);
    assert_int_equal(bs_auth_who("/bioseg.v1.Server/GetInfo/"), BS_WHO_NOBODY);
    assert_int_equal(bs_auth_who("/bioseg.v1.server/getinfo"), BS_WHO_NOBODY);
}

/* A directory with a gate in it. */
struct place {
    char dir[64];
    struct bs_auth *auth;
};

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct bs_err err;
    assert_non_null(p);
    snprintf(p->dir, sizeof p->dir, "/tmp/bs-auth-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    assert_int_equal(bs_auth_create(p->dir, &p->auth, &err), BS_OK);
    *state = p;
    return 0;
}

static void path_in(const struct place *p, const char *name, char *out, size_t cap)
{
    snprintf(out, cap, "%s/%s", p->dir, name);
}

static int tear_down(void **state)
{
    struct place *p = *state;
    char path[96];
    bs_auth_destroy(p->auth);
    path_in(p, "token", path, sizeof path);
    unlink(path);
    path_in(p, "users", path, sizeof path);
    unlink(path);
    rmdir(p->dir);
    free(p);
    return 0;
}

static void read_token(const struct place *p, char *bearer, size_t cap)
{
    char path[96], token[80] = "";
    path_in(p, "token", path, sizeof path);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(token, sizeof token, f));
    fclose(f);
    token[strcspn(token, "\n")] = 0;
    assert_int_equal(strlen(token), 64);
    snprintf(bearer, cap, "Bearer %s", token);
}

static bs_status ask(const struct place *p, enum bs_transport transport, const char *authorization,
                     struct bs_caller *who)
{
    struct bs_err err;
    return bs_auth_check(p->auth, "/bioseg.v1.Server/GetInfo", transport, authorization, who, &err);
}

static void the_first_start_makes_a_private_token_that_the_second_start_keeps(void **state)
{
    struct place *p = *state;
    char first[128], second[128], path[96];
    struct stat st;
    struct bs_err err;
    path_in(p, "token", path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    read_token(p, first, sizeof first);
    bs_auth_destroy(p->auth);
    p->auth = NULL;
    assert_int_equal(bs_auth_create(p->dir, &p->auth, &err), BS_OK);
    read_token(p, second, sizeof second);
    assert_string_equal(first, second);
}

static void tcp_needs_the_token_the_socket_does_not_and_a_wrong_one_helps_nowhere(void **state)
{
    struct place *p = *state;
    char bearer[128];
    struct bs_caller who = {.name = ""};
    read_token(p, bearer, sizeof bearer);
    assert_int_equal(ask(p, BS_TRANSPORT_TCP, bearer, &who), BS_OK);
    assert_true(who.admin);
    assert_int_equal(ask(p, BS_TRANSPORT_UNIX, NULL, &who), BS_OK);
    assert_int_equal(ask(p, BS_TRANSPORT_TCP, NULL, &who), BS_EUNAUTHENTICATED);
    assert_int_equal(ask(p, BS_TRANSPORT_TCP, "", &who), BS_EUNAUTHENTICATED);
    assert_int_equal(ask(p, BS_TRANSPORT_TCP, bearer + 7, &who), BS_EUNAUTHENTICATED);
    bearer[70] ^= 1;
    assert_int_equal(ask(p, BS_TRANSPORT_TCP, bearer, &who), BS_EUNAUTHENTICATED);
    assert_int_equal(ask(p, BS_TRANSPORT_UNIX, bearer, &who), BS_EUNAUTHENTICATED);
}

static void secrets_that_others_can_read_are_refused(void **state)
{
    struct place *p = *state;
    struct bs_auth *a = NULL;
    struct bs_err err;
    char path[96];
    path_in(p, "token", path, sizeof path);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(bs_auth_create(p->dir, &a, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "0640"));
    assert_null(strstr(err.msg, p->dir));
}

static void users_have_names_roles_and_tokens_of_their_own(void **state)
{
    struct place *p = *state;
    char path[96];
    unsigned char hash[SHA256_DIGEST_LENGTH];
    struct bs_caller who;
    struct bs_err err;
    static const char secret[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    SHA256((const unsigned char *)secret, strlen(secret), hash);
    path_in(p, "users", path, sizeof path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "# people\n\nada user ");
    for (size_t i = 0; i < sizeof hash; i++)
        fprintf(f, "%02x", hash[i]);
    fprintf(f, "\n");
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
    bs_auth_destroy(p->auth);
    p->auth = NULL;
    assert_int_equal(bs_auth_create(p->dir, &p->auth, &err), BS_OK);
    assert_int_equal(ask(p, BS_TRANSPORT_TCP, "Bearer abcdefghijklmnopqrstuvwxyz0123456789", &who), BS_OK);
    assert_string_equal(who.name, "ada");
    assert_false(who.admin);
    assert_int_equal(bs_auth_check(p->auth, "/bioseg.v1.Admin/Drain", BS_TRANSPORT_TCP,
                                   "Bearer abcdefghijklmnopqrstuvwxyz0123456789", &who, &err),
                     BS_EPERMISSION);
    if ((f = fopen(path, "w"))) {
        fprintf(f, "ada root 00\n");
        fclose(f);
    }
    struct bs_auth *a = NULL;
    assert_int_equal(bs_auth_create(p->dir, &a, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "line 1"));
}

static void only_addresses_of_this_machine_are_loopback(void **state)
{
    static const struct {
        const char *listen;
        bool ok, loopback;
    } cases[] = {
        {"127.0.0.1:0", true, true},
        {"127.9.9.9:80", true, true},
        {"[::1]:7", true, true},
        {"localhost:1", true, true},
        {"0.0.0.0:1", true, false},
        {"[::]:1", true, false},
        {"192.168.0.5:1", true, false},
        {"example.org:1", true, false},
        {"[::ffff:10.0.0.1]:5", true, false},
        {"127.0.0.1.evil.org:1", true, false},
        {"127.0.0.1", false, false},
        {":1", false, false},
        {"127.0.0.1:", false, false},
        {"127.0.0.1:70000", false, false},
        {"127.0.0.1:x", false, false},
        {"", false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool loopback = false;
        struct bs_err err;
        bs_status rc = bs_auth_is_loopback(cases[i].listen, &loopback, &err);
        if ((rc == BS_OK) != cases[i].ok || (rc == BS_OK && loopback != cases[i].loopback))
            fail_msg("\"%s\": status %d, loopback %d", cases[i].listen, rc, loopback);
    }
}

static void every_status_has_its_grpc_code(void **state)
{
    (void)state;
    assert_int_equal(bs_rpc_status_code(BS_OK), 0);
    for (int s = BS_OK + 1; s <= BS_EINTERNAL; s++)
        assert_in_range(bs_rpc_status_code((bs_status)s), 1, 16);
    assert_int_equal(bs_rpc_status_code(BS_EINVAL), 3);
    assert_int_equal(bs_rpc_status_code(BS_EDEADLINE), 4);
    assert_int_equal(bs_rpc_status_code(BS_EUNSUPPORTED), 12);
    assert_int_equal(bs_rpc_status_code(BS_EUNAUTHENTICATED), 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_holds_every_method_of_every_service_and_nothing_else),
        cmocka_unit_test(a_method_outside_the_table_is_for_nobody),
        cmocka_unit_test_setup_teardown(the_first_start_makes_a_private_token_that_the_second_start_keeps,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(tcp_needs_the_token_the_socket_does_not_and_a_wrong_one_helps_nowhere,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_that_others_can_read_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(users_have_names_roles_and_tokens_of_their_own, set_up, tear_down),
        cmocka_unit_test(only_addresses_of_this_machine_are_loopback),
        cmocka_unit_test(every_status_has_its_grpc_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
