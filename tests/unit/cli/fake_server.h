/* A gRPC server that says what a test tells it to, whatever is asked: for answers that a good server never gives. */
#ifndef BS_TESTS_UNIT_CLI_FAKE_SERVER_H
#define BS_TESTS_UNIT_CLI_FAKE_SERVER_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_answer {
    const ProtobufCMessage *message[8]; /* sent in order after the request has been read */
    size_t n;
    int status; /* gRPC code at the end */
    const char *details;
    bool hang;  /* never answers; ends when the client gives up */
    bool eager; /* ends the call with status before reading the request */
};

struct fake_server;
/* Listens on a free port of 127.0.0.1. answer is borrowed until the server is stopped. */
struct fake_server *fake_server_start(const struct fake_answer *answer, char target[64]);
/* The authorization header of the last call, "" without; and how many messages it sent. */
const char *fake_server_authorization(const struct fake_server *s);
size_t fake_server_received(const struct fake_server *s);
void fake_server_stop(struct fake_server *s);

#endif
