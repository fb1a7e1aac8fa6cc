/* Tokens and the gate; see auth.h. Tokens are kept as SHA-256 only and compared in constant time. */
#include "server/auth.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_BYTES 32
#define MAX_USERS   256
#define MAX_FILE    65536

struct user {
    struct bs_caller caller;
    unsigned char token_hash[SHA256_DIGEST_LENGTH];
};

struct bs_auth {
    struct bs_caller local; /* who runs the daemon: the socket's and the token file's owner */
    size_t nuser;
    struct user user[MAX_USERS]; /* [0] holds the token of DIR/token */
};

static bool unhex(const char *hex, unsigned char *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        if (strspn(hex + 2 * i, "0123456789abcdef") < 2 || sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return false;
        out[i] = (unsigned char)byte;
    }
    return true;
}

/* Contents of a private file with NUL; BS_ENOTFOUND when there is none. The caller frees. */
static bs_status read_private(int dir, const char *name, char **text, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct stat st;
    char *buffer = NULL;
    size_t n = 0;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? BS_FAIL(err, BS_ENOTFOUND, "no file %s", name)
                               : BS_FAIL(err, BS_EIO, "cannot open the data directory's file %s: %s", name,
                                         strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        rc = BS_FAIL(err, BS_EPRECONDITION, "the data directory's %s is not a file", name);
        goto cleanup;
    }
    if (st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        rc = BS_FAIL(err, BS_EPRECONDITION,
                     "the data directory's file %s has mode %04o; it must belong to the user who runs "
                     "biosegd with mode "
                     "0600, for it holds secrets",
                     name, (unsigned)st.st_mode & 07777);
        goto cleanup;
    }
    if (!(buffer = calloc(1, MAX_FILE + 1))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory");
        goto cleanup;
    }
    for (ssize_t got; n < MAX_FILE && (got = read(fd, buffer + n, MAX_FILE - n)) > 0;)
        n += (size_t)got;
    *text = buffer;
    buffer = NULL;

cleanup:
    free(buffer);
    close(fd);
    return rc;
}

/* Makes DIR/token: complete or not at all, never readable by others. */
static bs_status make_token(int dir, struct bs_err *err)
{
    bs_status rc = BS_OK;
    unsigned char random[TOKEN_BYTES];
    char hex[2 * TOKEN_BYTES + 2];
    int fd = -1;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return BS_FAIL(err, BS_EIO, "no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < TOKEN_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", random[i]);
    hex[2 * TOKEN_BYTES] = '\n';
    unlinkat(dir, "token.new", 0);
    fd = openat(dir, "token.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, hex, sizeof hex - 1) != (ssize_t)sizeof hex - 1 || fsync(fd) != 0 ||
        renameat(dir, "token.new", dir, "token") != 0)
        rc = BS_FAIL(err, BS_EIO, "cannot write the token file: %s", strerror(errno));
    OPENSSL_cleanse(random, sizeof random);
    OPENSSL_cleanse(hex, sizeof hex);
    if (fd >= 0)
        close(fd);
    return rc;
}

static void add_user(struct bs_auth *a, const struct bs_caller *caller, const unsigned char *token_hash)
{
    struct user *u = &a->user[a->nuser++];
    u->caller = *caller;
    memcpy(u->token_hash, token_hash, sizeof u->token_hash);
}

static bs_status read_users(struct bs_auth *a, char *text, struct bs_err *err)
{
    int number = 0;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct bs_caller caller = {.admin = false};
        char role[8], hex[2 * SHA256_DIGEST_LENGTH + 2];
        unsigned char hash[SHA256_DIGEST_LENGTH];
        number++;
        if (line[0] == '#' || line[strspn(line, " \t")] == 0)
            continue;
        if (sscanf(line, "%63s %7s %65s", caller.name, role, hex) != 3 ||
            strlen(hex) != 2 * SHA256_DIGEST_LENGTH || !unhex(hex, hash, sizeof hash) ||
            (strcmp(role, "user") != 0 && strcmp(role, "admin") != 0))
            return BS_FAIL(
                err, BS_EINVAL,
                "line %d of the data directory's file users: expected a name, \"user\" or \"admin\", and the "
                "SHA-256 of a token in 64 lower-case hex digits",
                number);
        if (a->nuser == MAX_USERS)
            return BS_FAIL(err, BS_ELIMIT, "the data directory's file users has more than %d users",
                           MAX_USERS - 1);
        caller.admin = strcmp(role, "admin") == 0;
        add_user(a, &caller, hash);
    }
    return BS_OK;
}

bs_status bs_auth_create(const char *data_dir, struct bs_auth **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    char *token = NULL, *users = NULL;
    unsigned char hash[SHA256_DIGEST_LENGTH];
    struct bs_auth *a = calloc(1, sizeof *a);
    int dir = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!a || dir < 0) {
        rc = BS_FAIL(err, BS_EIO, "cannot open the data directory: %s", strerror(errno));
        goto cleanup;
    }
    struct passwd entry, *found = NULL;
    char names[1024];
    if (getpwuid_r(geteuid(), &entry, names, sizeof names, &found) == 0 && found)
        snprintf(a->local.name, sizeof a->local.name, "%s", found->pw_name);
    else
        snprintf(a->local.name, sizeof a->local.name, "uid%u", (unsigned)geteuid());
    a->local.admin = true;

    rc = read_private(dir, "token", &token, err);
    if (rc == BS_ENOTFOUND) {
        if ((rc = make_token(dir, err)) != BS_OK)
            goto cleanup;
        rc = read_private(dir, "token", &token, err);
    }
    if (rc != BS_OK)
        goto cleanup;
    token[strcspn(token, "\r\n")] = 0;
    if (strlen(token) < 32) {
        rc = BS_FAIL(err, BS_EPRECONDITION,
                     "the token in the data directory's file token has %zu characters; at least 32 are "
                     "needed (remove the "
                     "file and a new one is made)",
                     strlen(token));
        goto cleanup;
    }
    SHA256((const unsigned char *)token, strlen(token), hash);
    add_user(a, &a->local, hash);

    rc = read_private(dir, "users", &users, err);
    if (rc == BS_OK)
        rc = read_users(a, users, err);
    else if (rc == BS_ENOTFOUND)
        rc = BS_OK;

cleanup:
    if (token) {
        OPENSSL_cleanse(token, strlen(token));
        free(token);
    }
    free(users);
    if (dir >= 0)
        close(dir);
    if (rc == BS_OK)
        *out = a;
    else
        free(a);
    return rc;
}

void bs_auth_destroy(struct bs_auth *a)
{
    free(a);
}

/* Looks at every user whatever matches, so that time tells nothing. */
static const struct bs_caller *caller_of_token(const struct bs_auth *a, const char *token)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    const struct bs_caller *found = NULL;
    SHA256((const unsigned char *)token, strlen(token), hash);
    for (size_t i = 0; i < a->nuser; i++) {
        if (CRYPTO_memcmp(hash, a->user[i].token_hash, sizeof hash) == 0)
            found = &a->user[i].caller;
    }
    return found;
}

bs_status bs_auth_check(const struct bs_auth *a, const char *method, enum bs_transport transport,
                        const char *authorization, struct bs_caller *caller, struct bs_err *err)
{
    const struct bs_caller *who = NULL;
    if (authorization) {
        /* A wrong token is refused on the Unix socket too: its sender means somebody else. */
        if (strncmp(authorization, "Bearer ", 7) != 0 || !(who = caller_of_token(a, authorization + 7)))
            return BS_FAIL(err, BS_EUNAUTHENTICATED,
                           "the token is not known here; send \"authorization: Bearer TOKEN\" with the token "
                           "of the file "
                           "'token' in the daemon's data directory");
    } else if (transport == BS_TRANSPORT_UNIX) {
        who = &a->local;
    } else {
        return BS_FAIL(err, BS_EUNAUTHENTICATED,
                       "a token is needed: send \"authorization: Bearer TOKEN\" with the token of the file "
                       "'token' in the "
                       "daemon's data directory");
    }
    switch (bs_auth_who(method)) {
    case BS_WHO_USER:
        break;
    case BS_WHO_ADMIN:
        if (!who->admin)
            return BS_FAIL(err, BS_EPERMISSION,
                           "%s may be called by administrators only; you are the user %s", method, who->name);
        break;
    case BS_WHO_NOBODY:
    default:
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "there is no method %.200s; server reflection lists what there is", method);
    }
    *caller = *who;
    return BS_OK;
}

bs_status bs_auth_is_loopback(const char *listen, bool *loopback, struct bs_err *err)
{
    char host[256];
    const char *colon = strrchr(listen, ':');
    if (!colon || colon == listen || (size_t)(colon - listen) >= sizeof host || colon[1] == 0 ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || strtol(colon + 1, NULL, 10) > 65535)
        return BS_FAIL(err, BS_EINVAL,
                       "\"%.100s\" is no address to listen on; expected HOST:PORT, e.g. 127.0.0.1:7443",
                       listen);
    memcpy(host, listen, (size_t)(colon - listen));
    host[colon - listen] = 0;
    size_t n = strlen(host);
    bool bracketed = n > 2 && host[0] == '[' && host[n - 1] == ']';
    if (bracketed) {
        memmove(host, host + 1, n - 2);
        host[n - 2] = 0;
    }
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        *loopback = ntohl(v4.s_addr) >> 24 == 127;
    else if (inet_pton(AF_INET6, host, &v6) == 1)
        *loopback = IN6_IS_ADDR_LOOPBACK(&v6);
    else
        *loopback = strcmp(host, "localhost") == 0;
    return BS_OK;
}
